"""Checkpoints of PyTorch, read with `torch.load` and without executing anything in them.

A checkpoint is a zip of a pickle and one file per storage (PyTorch 1.6 and newer), or a few pickles
followed by the storages (older). `torch.load(weights_only=True, mmap=True)` runs no code of a
pickle and maps a zip's storages from the file. A hostile file can still make it allocate or
decompress gigabytes, hash a tuple of 2^60 parts, or take compressed bytes for numbers, and its list
of allowed names cannot be shortened. Therefore the zip's directory, the names and the instructions
of each pickle are checked first.
"""

import io
import pickle
import pickletools
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from virnucpro.bundles.foreign import MOST_DIMENSIONS, MOST_TENSORS, ShortReads, open_regular
from virnucpro.errors import BundleError, reading

#: Held while PyTorch's list of allowed classes, which all threads share, is longer than usual.
_ALLOWING = threading.Lock()
#: First bytes of checkpoints older than PyTorch 1.6: a number as a pickle of protocol 2.
LEGACY_START = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
#: Pickles that follow in such a file: a version, the system, the object, the storages' keys.
_LEGACY_PICKLES = 4
#: Most bytes of a pickle, which holds names and sizes only: that of ESM-2 15B has 0.3 MB.
_LONGEST_PICKLE = 1 << 22
#: Most instructions of a pickle; that of ESM-2 15B has 30,000.
_MOST_STEPS = 1 << 19
#: Most parts of a tuple, with those of the tuples in it; arguments of a parameter have 30. Hashing
#: one that contains another twice, sixty times over, takes 2^60 steps; one within another, a
#: hundred thousand times over, overflows the C stack.
_MOST_PARTS = 256
#: Most bits of a number. Among longer ones, a million can have the same hash.
_MOST_BITS = 64
#: Deepest nesting of modules, and of dicts around the state dict.
_DEEPEST = 8
_LONGEST_NAME = 200
_STORAGES = (
    *("DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage"),
    *("LongStorage", "IntStorage", "ByteStorage", "BoolStorage"),
)
#: Classes that published checkpoints name; only their attributes matter.
_INERT = {
    "__main__ MLPClassifier",
    "argparse Namespace",
    "torch.nn.modules.activation ReLU",
    "torch.nn.modules.batchnorm BatchNorm1d",
    "torch.nn.modules.dropout Dropout",
    "torch.nn.modules.linear Linear",
}
#: Names that a pickle may use. PyTorch's own list also has names that allocate as much as told.
_NAMES = {
    "collections OrderedDict",
    "__builtin__ set",
    "torch Size",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {storage}" for storage in _STORAGES),
    *_INERT,
}
_PUTS, _GETS = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
#: Instructions that make a value that has what they take as its parts; containers have no hash.
_COMPOUND = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "NEWOBJ")
#: Keys under which training scripts put the state dict: PyTorch Lightning, then others.
_NESTS = ("state_dict", "model_state_dict", "model", "module")


class _Inert:
    """Stands in for an object of a class that is not loaded; keeps the attributes only."""

    __slots__ = ("attributes",)  # no __dict__: a pickle cannot replace __setstate__
    attributes: Any

    def __new__(cls, *_: object) -> Self:
        """Ignore the arguments of the class."""
        inert = super().__new__(cls)
        inert.attributes = {}
        return inert

    def __setstate__(self, state: object) -> None:
        """Keep the attributes."""
        self.attributes = state


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a checkpoint.

    Args:
        path: a state dict, a dict that holds one under a usual key, or a pickled module.

    Raises:
        BundleError: the file is damaged, of another format, or names anything unknown.
    """
    with reading(path, "save its weights alone, or get it again", BundleError):
        content, sizes = _load(path)
        state = _state_of(content)
        if len(state) > MOST_TENSORS:
            raise ValueError(f"more than {MOST_TENSORS:,} tensors")
        for tensor in state.values():
            _check_tensor(tensor, sizes)
        return {name: tensor.detach() for name, tensor in state.items()}


def read_torch_file(path: Path) -> object:
    """Return the content of a file that `torch.save` wrote; tensors of a zip are mapped.

    Raises:
        Exception: of any kind, as `torch.load` does.
    """
    return _load(path)[0]


def _load(path: Path) -> tuple[object, set[int] | None]:
    """Return the content of a file, and the sizes of a zip's entries."""
    with open_regular(path) as file:
        is_legacy = file.read(len(LEGACY_START)) == LEGACY_START
        if is_legacy:
            program = io.BytesIO(file.read(_LONGEST_PICKLE))
            for _ in range(_LEGACY_PICKLES):
                _check_program(program)
    sizes = None if is_legacy else _check_archive(path)
    stand_ins: list[Any] = [(_Inert, name.replace(" ", ".")) for name in _INERT]
    with _ALLOWING, torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an error follows each, in one line
        try:
            return torch.load(path, "cpu", weights_only=True, mmap=not is_legacy), sizes
        except pickle.UnpicklingError as error:
            reason = str(error).rpartition("WeightsUnpickler error:")[2].strip()
            raise ValueError(reason) from error


def _check_archive(path: Path) -> set[int]:
    """Check a zip's directory and its pickle; return the sizes of its entries."""
    size = path.stat().st_size
    with ShortReads(open_regular(path).detach()) as file, zipfile.ZipFile(file) as archive:
        file.seek(max(0, size - 98))
        _check_start(archive, size, file.read(98))
        entries = {entry.orig_filename: entry for entry in archive.infolist()}
        if len({name.lower() for name in entries}) < len(archive.infolist()):
            raise ValueError("two entries of the same name")
        if any("/code/" in name or name.endswith("constants.pkl") for name in entries):
            raise ValueError("a TorchScript program, not a state dict")
        if any(name.endswith(".npy") for name in entries):
            raise ValueError("arrays of NumPy, not a checkpoint of PyTorch")
        pickles = [entry for name, entry in entries.items() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip without data.pkl")
        for name, entry in entries.items():
            is_plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
            if not is_plain or entry.compress_size != entry.file_size:
                raise ValueError(f"{name[:100]!r} is compressed or encrypted")
        if pickles[0].file_size > _LONGEST_PICKLE:
            raise ValueError(f"its pickle has {pickles[0].file_size:,} bytes")
        _check_program(io.BytesIO(archive.read(pickles[0])))
        return {entry.file_size for entry in entries.values()}


def _check_start(archive: zipfile.ZipFile, size: int, tail: bytes) -> None:
    """Check that every reader of this zip finds the same directory, the one of its last bytes."""
    start = tail[-6:-2]
    if tail[-42:-38] == b"PK\x06\x07":  # zip64
        start = tail[-50:-42]
        if int.from_bytes(tail[-34:-26], "little") != size - 98:
            raise ValueError("a zip with two directories")
    if archive.comment or int.from_bytes(start, "little") != archive.start_dir:
        raise ValueError("a zip with two directories")


def _check_program(program: BinaryIO) -> None:
    """Check the names and instructions of a pickle; the file is then at the pickle's end."""
    stacks: list[list[int]] = [[]]  # one per open mark; each value is counted by its parts
    memo: dict[object, int] = {}
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(program)):
        if steps >= _MOST_STEPS:
            raise ValueError(f"a pickle of more than {_MOST_STEPS:,} steps")
        if opcode.name == "GLOBAL" and argument not in _NAMES:
            name = str(argument).replace(" ", ".")[:100]
            raise ValueError(f"it names {name!r}, which weights do not need")
        if isinstance(argument, int) and argument.bit_length() > _MOST_BITS:
            raise ValueError("a number that no size needs")
        if opcode.name in _PUTS:
            memo[argument] = stacks[-1][-1]
        elif opcode.name in _GETS:
            stacks[-1].append(memo.get(argument, 1))
        elif opcode.name == "MARK":
            stacks.append([])
        else:
            parts = 1 + sum(_popped(stacks, opcode))
            if opcode.name not in _COMPOUND:
                parts = 1
            if parts > _MOST_PARTS:
                raise ValueError(f"a tuple of more than {_MOST_PARTS} parts")
            stacks[-1].extend(parts for _ in opcode.stack_after)


def _popped(stacks: list[list[int]], opcode: pickletools.OpcodeInfo) -> list[int]:
    """Take what an instruction takes from the stack."""
    before, taken = opcode.stack_before, []
    if pickletools.markobject in before:
        taken = stacks.pop()
        before = before[: before.index(pickletools.markobject)]
    return taken + [stacks[-1].pop() for _ in before]


def _state_of(found: object, depth: int = 0) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's content, named as in a state dict."""
    if isinstance(found, _Inert):
        return dict(_module_tensors(found))
    if not isinstance(found, Mapping) or not found:
        raise ValueError("it holds no weights")
    if all(isinstance(k, str) and isinstance(t, Tensor) for k, t in found.items()):
        return dict(found)
    for key in _NESTS:
        if depth < _DEEPEST and isinstance(found.get(key), Mapping | _Inert):
            return _state_of(found[key], depth + 1)
    raise ValueError("it holds more than named tensors")


def _module_tensors(root: _Inert) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers of a pickled module and of those in it."""
    waiting, seen = [("", root)], 0
    while waiting:
        prefix, module = waiting.pop()
        parts = [_attribute(module, kind) for kind in ("_parameters", "_buffers", "_modules")]
        seen += 1 + sum(map(len, parts))  # one module may be in another a thousand times
        if seen > MOST_TENSORS or prefix.count(".") > _DEEPEST:
            raise ValueError("modules within modules without end")
        for name, found in chain(*parts):
            if isinstance(found, Tensor):
                yield f"{prefix}{name}", found
            elif isinstance(found, _Inert):
                waiting.append((f"{prefix}{name}.", found))


def _attribute(module: _Inert, kind: str) -> list[tuple[str, object]]:
    attributes = module.attributes if isinstance(module.attributes, Mapping) else {}
    found = attributes.get(kind)
    items = found.items() if isinstance(found, Mapping) else ()
    return [(name, x) for name, x in items if isinstance(name, str) and len(name) < _LONGEST_NAME]


def _check_tensor(tensor: Tensor, sizes: set[int] | None) -> None:
    """Check that a tensor is one of weights, and its storage as large as the zip's entry."""
    if tensor.dim() > MOST_DIMENSIONS:
        raise ValueError(f"a tensor of {tensor.dim():,} dimensions")
    if not tensor.is_contiguous():
        raise ValueError("a tensor that is not contiguous")
    if sizes is not None and tensor.untyped_storage().nbytes() not in sizes:
        raise ValueError("a storage that is not as large as it says")
