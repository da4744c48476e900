"""PyTorch's checkpoint files, read without executing anything that is in them.

A checkpoint is a zip of a pickle and one file for each storage (PyTorch 1.6 and newer). Pickles are
programs; the one run here can build tensors on the mapped file, plain containers, and inert
stand-ins for the few classes that published checkpoints name. Any other name ends the reading.
"""

import io
import mmap
import pickle
import pickletools
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeGuard, cast

import torch
from torch import Tensor

from virnucpro.errors import BundleError

#: Most bytes of the pickle itself, which holds names and sizes only: ESM-2 15B has 0.3 MB.
_LONGEST_PICKLE = 1 << 24
#: Modules within modules.
_DEEPEST = 8
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
#: Classes that published checkpoints name and whose attributes are all that matters.
_INERT = {
    ("__main__", "MLPClassifier"),
    ("argparse", "Namespace"),
    ("torch.nn.modules.activation", "ReLU"),
    ("torch.nn.modules.batchnorm", "BatchNorm1d"),
    ("torch.nn.modules.dropout", "Dropout"),
    ("torch.nn.modules.linear", "Linear"),
}


class Inert:
    """Stands for an object of a class that is not loaded; only its attributes are kept."""

    def __new__(cls, *_: object) -> Self:
        """Take any arguments and use none."""
        return super().__new__(cls)


class _Function:
    """A function that a pickle may call, and to which it can do nothing else that lasts."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        """Call it."""
        return self._call(*arguments)


class _Storage(NamedTuple):
    """Where the numbers of a tensor lie in the file."""

    offset: int
    bytes: int
    dtype: torch.dtype


def read_pickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch checkpoint, mapped onto the file.

    Args:
        path: a state dict, fair-esm's dict with the state dict under `model`, or a pickled module.

    Raises:
        BundleError: when the file is damaged, of another format, or names anything unknown.
    """
    try:
        return _state_of(_Archive(path).load())
    except _FAULTS as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"{path}: not a readable PyTorch checkpoint ({said[:200]}); get it anew"
        ) from error


#: What damaged or hostile files make the standard library and PyTorch raise.
_FAULTS = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, OSError, EOFError, ImportError),
    *(ArithmeticError, LookupError, ValueError, TypeError, AttributeError, MemoryError),
    RuntimeError,
)


class _Archive:
    """A checkpoint's zip, mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        names = [info.filename for info in infos]
        if len(set(names)) != len(names):
            raise pickle.UnpicklingError("two entries of the same name")
        self._entries = {info.filename: info for info in infos}
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise pickle.UnpicklingError("no data.pkl; save it again with PyTorch 1.6 or newer")
        self._root = roots[0]
        byteorder = self._entries.get(f"{self._root}byteorder")
        if byteorder is not None and self._content(byteorder) != b"little":
            raise pickle.UnpicklingError("its numbers are not little-endian")

    def load(self) -> object:
        """Run the pickle."""
        entry = self._entries[f"{self._root}data.pkl"]
        if entry.file_size > _LONGEST_PICKLE:
            raise pickle.UnpicklingError(f"its pickle has {entry.file_size:,} bytes")
        program = self._content(entry)
        _check_program(program)
        return _Unpickler(program, self).load()

    def storage(self, dtype: torch.dtype, key: str, count: int) -> _Storage:
        """Find a storage; its entry must be as large as the pickle says."""
        if not re.fullmatch(r"[0-9]{1,9}", key):
            raise pickle.UnpicklingError("a storage with a strange name")
        entry = self._entries[f"{self._root}data/{key}"]
        if entry.file_size != count * dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} is not as large as it says")
        return _Storage(self._start(entry), entry.file_size, dtype)

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Return where an entry's bytes start, which must be stored as they are."""
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise pickle.UnpicklingError(f"{entry.filename!r} is compressed")
        header = self._map[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
        magic, name, extra = _LOCAL_HEADER.unpack(header)
        start = int(entry.header_offset + _LOCAL_HEADER.size + name + extra)
        if magic != b"PK\x03\x04" or start + entry.file_size > len(self._map):
            raise pickle.UnpicklingError(f"{entry.filename!r} is cut short")
        return start

    def _content(self, entry: zipfile.ZipInfo) -> bytes:
        start = self._start(entry)
        return self._map[start : start + entry.file_size]

    def tensor(self, storage: _Storage, offset: int, size: tuple[int, ...]) -> Tensor:
        """Return a contiguous part of a storage."""
        if not prod(size):
            return torch.empty(size, dtype=storage.dtype)
        return torch.frombuffer(
            self._map,
            dtype=storage.dtype,
            count=prod(size),
            offset=storage.offset + offset * storage.dtype.itemsize,
        ).view(size)


def _check_program(program: bytes) -> None:
    """Refuse memo places that would make the interpreter reserve gigabytes."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(program), start=1):
        is_put = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if is_put and not (isinstance(argument, int) and 0 <= argument <= count):
            raise pickle.UnpicklingError("a memo place that no program needs")


class _Unpickler(pickle.Unpickler):
    """Runs a pickle that can name the tensors' functions and inert classes, and nothing else."""

    def __init__(self, program: bytes, archive: "_Archive") -> None:
        super().__init__(io.BytesIO(program))
        self._archive = archive
        self._known: dict[tuple[str, str], object] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("__builtin__", "set"): set,
            ("builtins", "set"): set,
            ("torch._utils", "_rebuild_tensor_v2"): _Function(self._tensor),
            ("torch._utils", "_rebuild_parameter"): _Function(lambda data, *_: data),
        }
        self._known |= {("torch", name): dtype for name, dtype in _STORAGES.items()}
        self._known |= {name: type(name[1], (Inert,), {}) for name in _INERT}

    def find_class(self, module: str, name: str, /) -> object:
        """Return what a name stands for."""
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {f'{module}.{name}'[:100]!r}, which weights do not need"
            ) from None

    def persistent_load(self, found: Any, /) -> _Storage:  # noqa: ANN401
        """Return the storage that the pickle refers to."""
        kind, dtype, key, _, count = found
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(count) is not int:
            raise pickle.UnpicklingError("a strange storage")
        return self._archive.storage(dtype, key, count)

    def _tensor(
        self, storage: object, offset: object, size: object, stride: object, *_: object
    ) -> Tensor:
        """Return a tensor; only contiguous ones occur in checkpoints of weights."""
        if not isinstance(storage, _Storage) or not (_are_sizes(size) and _are_sizes(stride)):
            raise pickle.UnpicklingError("a strange tensor")
        if not _are_sizes((offset,)) or not _is_contiguous(size, stride):
            raise pickle.UnpicklingError("a tensor that is not contiguous")
        first = cast("int", offset)
        if (first + prod(size)) * storage.dtype.itemsize > storage.bytes:
            raise pickle.UnpicklingError("a tensor beyond its storage")
        return self._archive.tensor(storage, first, size)


def _are_sizes(numbers: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(numbers, tuple) and all(
        type(number) is int and 0 <= number < 1 << 40 for number in numbers
    )


def _is_contiguous(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = [prod(size[i + 1 :]) for i in range(len(size))]
    return len(stride) == len(size) and all(
        have == want
        for have, want, length in zip(stride, expected, size, strict=True)
        if length > 1
    )


def _state_of(found: object) -> dict[str, Tensor]:
    """Return the tensors of what a pickle built, named as in a state dict."""
    if isinstance(found, Inert):
        return dict(_module_tensors(found, ""))
    if isinstance(found, Mapping) and isinstance(found.get("model"), Mapping):
        found = found["model"]
    if not isinstance(found, Mapping) or not found:
        raise pickle.UnpicklingError("it holds no weights")
    if not all(isinstance(k, str) and isinstance(t, Tensor) for k, t in found.items()):
        raise pickle.UnpicklingError("it holds more than named tensors")
    return dict(found)


def _module_tensors(module: Inert, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers of a pickled module and of those in it."""
    if prefix.count(".") > _DEEPEST:
        raise pickle.UnpicklingError("modules within modules without end")
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _attribute(module, kind):
            if isinstance(tensor, Tensor):
                yield f"{prefix}{name}", tensor
    for name, inner in _attribute(module, "_modules"):
        if isinstance(inner, Inert):
            yield from _module_tensors(inner, f"{prefix}{name}.")


def _attribute(module: Inert, kind: str) -> list[tuple[object, object]]:
    found = vars(module).get(kind)
    return list(found.items()) if isinstance(found, Mapping) else []
