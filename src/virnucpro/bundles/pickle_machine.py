"""A machine that runs pickles and can do nothing but build tensors' descriptions and containers.

It knows the instructions that checkpoints of weights use, and the names that it is given. It never
compares or hashes what a pickle builds: a set becomes a list, and keys of a dict are plain values.
(A tuple that holds another twice, sixty times over, has 2^60 parts to hash.)
"""

import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar, Self

#: Most instructions of a pickle; that of ESM-2 15B has 30,000.
MOST_STEPS = 1 << 19
#: Most bytes of a number.
_LONGEST_NUMBER = 16

#: What puts its argument on the stack.
_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("FLOAT", "BINFLOAT"),
    }
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NEW: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class Inert:
    """Stands for an object of a class that is not loaded; only its attributes are kept."""

    def __new__(cls, *_: object) -> Self:
        """Take any arguments and use none."""
        return super().__new__(cls)


class Function:
    """A function that a pickle may call."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self.call = call


def plain_dict(pairs: object = ()) -> dict[Any, Any]:
    """Return a dict of pairs whose keys are plain values."""
    found: dict[Any, Any] = {}
    for pair in _items(pairs):
        key, value = _items(pair)
        found[_plain(key)] = value
    return found


class Machine:
    """Runs one pickle.

    Args:
        names: what a pickle can name: a `Function`, a class of `Inert` objects, or a value.
        refer: returns what a persistent id refers to.
    """

    def __init__(
        self, names: Mapping[tuple[str, str], object], refer: Callable[[object], object]
    ) -> None:
        self._names = names
        self._refer = refer
        self._stack: list[Any] = []
        self._memo: dict[int, object] = {}

    def run(self, program: BinaryIO) -> object:
        """Run the pickle that starts here; the file is left behind its end.

        Raises:
            UnpicklingError: when it does anything that weights do not need.
        """
        for count, (opcode, argument, _) in enumerate(pickletools.genops(program)):
            if count >= MOST_STEPS:
                raise pickle.UnpicklingError(f"a pickle of more than {MOST_STEPS:,} steps")
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        return self._pop()

    def _step(self, name: str, argument: Any) -> None:  # noqa: ANN401
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > 8 * _LONGEST_NUMBER:
                raise pickle.UnpicklingError("a number that no size needs")
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _NEW:
            self._stack.append(_NEW[name]())
        elif name in _PUTS:
            self._memo[int(argument)] = self._top()
        elif name in _GETS:
            self._stack.append(self._memo[int(argument)])
        elif name in _TUPLES:
            parts = [self._pop() for _ in range(_TUPLES[name])]
            self._stack.append(tuple(reversed(parts)))
        elif name not in ("PROTO", "FRAME"):
            step = self._STEPS.get(name)
            if step is None:
                raise pickle.UnpicklingError(f"it uses {name}, which weights do not need")
            step(self, argument)

    def _top(self) -> Any:  # noqa: ANN401
        if not self._stack or self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("a pickle that is cut short")
        return self._stack[-1]

    def _pop(self) -> Any:  # noqa: ANN401
        found = self._top()
        self._stack.pop()
        return found

    def _since_mark(self) -> list[Any]:
        """Take everything behind the last mark."""
        found = []
        while self._stack and self._stack[-1] is not _MARK:
            found.append(self._stack.pop())
        if not self._stack:
            raise pickle.UnpicklingError("a pickle without the mark that it needs")
        self._stack.pop()
        return found[::-1]

    def _mark(self, _: object) -> None:
        self._stack.append(_MARK)

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._top()

    def _tuple(self, _: object) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _list(self, _: object) -> None:
        self._stack.append(self._since_mark())

    def _dict(self, _: object) -> None:
        found: dict[Any, Any] = {}
        _set_items(found, self._since_mark())
        self._stack.append(found)

    def _append(self, _: object) -> None:
        item = self._pop()
        _items(self._top(), list).append(item)

    def _extend(self, _: object) -> None:
        items = self._since_mark()
        _items(self._top(), list).extend(items)

    def _set_item(self, _: object) -> None:
        value, key = self._pop(), self._pop()
        _set_items(self._top(), [key, value])

    def _set_items(self, _: object) -> None:
        items = self._since_mark()
        _set_items(self._top(), items)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._named(module, name))

    def _stack_global(self, _: object) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(self._named(module, name))

    def _named(self, module: object, name: object) -> object:
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a name that is no text")
        try:
            return self._names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {f'{module}.{name}'[:100]!r}, which weights do not need"
            ) from None

    def _reduce(self, _: object) -> None:
        arguments, function = self._pop(), self._pop()
        self._stack.append(_called(function, arguments))

    def _build(self, _: object) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Inert) and isinstance(state, dict):
            vars(target).update({key: x for key, x in state.items() if isinstance(key, str)})

    def _persistent(self, _: object) -> None:
        self._stack.append(self._refer(self._pop()))

    _STEPS: ClassVar[dict[str, Callable[["Machine", Any], None]]] = {
        "MARK": _mark,
        "MEMOIZE": _memoize,
        "TUPLE": _tuple,
        "LIST": _list,
        "DICT": _dict,
        "APPEND": _append,
        "APPENDS": _extend,
        "ADDITEMS": _extend,
        "SETITEM": _set_item,
        "SETITEMS": _set_items,
        "GLOBAL": _global,
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _reduce,
        "NEWOBJ": _reduce,
        "BUILD": _build,
        "BINPERSID": _persistent,
    }


def _called(function: object, arguments: object) -> object:
    if not isinstance(arguments, tuple):
        raise pickle.UnpicklingError("a call without arguments")
    if isinstance(function, Function):
        return function.call(*arguments)
    if isinstance(function, type) and issubclass(function, Inert):
        return function()
    raise pickle.UnpicklingError("it calls what is no function")


def _set_items(target: object, items: list[Any]) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise pickle.UnpicklingError("items that are no dict's")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_plain(key)] = value


def _plain(key: object) -> object:
    """Return a key of a dict; hashing it costs no more than its bytes."""
    if key is None or isinstance(key, str | int | float | bytes):
        return key
    raise pickle.UnpicklingError("a key that is no plain value")


def _items(found: object, kind: type | tuple[type, ...] = (list, tuple)) -> Any:  # noqa: ANN401
    if not isinstance(found, kind):
        raise pickle.UnpicklingError("items that are no list's")
    return found
