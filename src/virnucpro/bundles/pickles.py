"""PyTorch's checkpoint files, read without executing anything that is in them.

A checkpoint is a zip of a pickle and one file for each storage (PyTorch 1.6 and newer), or a few
pickles and then the storages, end to end (older). Pickles are programs; the machine that runs them
here can describe tensors of the mapped file, plain containers, and inert stand-ins for the few
classes that published checkpoints name. Any other name ends the reading.
"""

import io
import mmap
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor

from virnucpro.bundles.foreign import MOST_DIMENSIONS, MOST_TENSORS, ShortReads, open_regular
from virnucpro.bundles.pickle_machine import Function, Inert, Machine, plain_dict
from virnucpro.errors import BundleError, reading

#: What checkpoints of PyTorch before 1.6 start with: a number as a pickle of protocol 2.
LEGACY_START = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
#: Most bytes of the pickle itself, which holds names and sizes only: ESM-2 15B has 0.3 MB.
_LONGEST_PICKLE = 1 << 24
#: Modules within modules, and dicts around the state dict.
_DEEPEST = 8
_LONGEST_NAME = 200
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_COUNT = struct.Struct("<q")
_LEGACY_VERSION = 1001
#: Parts of a persistent id of a module's class: that, the class, its source file, its source.
_MODULE = 4
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
#: Keys under which training scripts put the state dict: PyTorch Lightning, then others.
_NESTS = ("state_dict", "model_state_dict", "model", "module")


class _Storage(NamedTuple):
    """Numbers in the file."""

    dtype: torch.dtype
    key: str
    length: int


class _View(NamedTuple):
    """A tensor: contiguous numbers of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]


def read_pickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch checkpoint, mapped onto the file.

    Args:
        path: a state dict, a dict that has it under a usual key, or a pickled module.

    Raises:
        BundleError: when the file is damaged, of another format, or names anything unknown.
    """
    with reading(path, "save its weights alone, or get it again", BundleError):
        with open_regular(path) as file:
            start = file.read(len(LEGACY_START))
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            archive = _Legacy(mapped) if start == LEGACY_START else _Archive(mapped, path)
        state = _state_of(archive.load())
        if len(state) > MOST_TENSORS:
            raise pickle.UnpicklingError(f"more than {MOST_TENSORS:,} tensors")
        return {name: archive.tensor(view) for name, view in state.items()}


class _Checkpoint:
    """A mapped file with numbers."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._map = mapped

    def load(self) -> object:
        """Run the pickle that describes the tensors."""
        raise NotImplementedError

    def start(self, storage: _Storage) -> int:
        """Return where the numbers of a storage lie; it must be as large as it says."""
        raise NotImplementedError

    def tensor(self, view: _View) -> Tensor:
        """Return a tensor on the mapped file."""
        storage, numbers = view.storage, prod(view.size)
        if view.offset + numbers > storage.length:
            raise pickle.UnpicklingError("a tensor beyond its storage")
        start = self.start(storage)
        if not numbers:
            return torch.empty(view.size, dtype=storage.dtype)
        offset = start + view.offset * storage.dtype.itemsize
        found = torch.frombuffer(self._map, dtype=storage.dtype, count=numbers, offset=offset)
        return found.view(view.size)


class _Archive(_Checkpoint):
    """A zip; its entries are stored, not compressed."""

    def __init__(self, mapped: mmap.mmap, path: Path) -> None:
        super().__init__(mapped)
        with ShortReads(open_regular(path).detach()) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
        names = [info.filename for info in infos]
        if len(set(names)) != len(names):
            raise pickle.UnpicklingError("two entries of the same name")
        if any("/code/" in name or name.endswith("constants.pkl") for name in names):
            raise pickle.UnpicklingError("a TorchScript program, not a state dict")
        if any(name.endswith(".npy") for name in names):
            raise pickle.UnpicklingError("arrays of NumPy, not a checkpoint of PyTorch")
        self._entries = {info.filename: info for info in infos}
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise pickle.UnpicklingError("a zip without data.pkl")
        self._root = roots[0]
        byteorder = self._entries.get(f"{self._root}byteorder")
        if byteorder is not None and self._content(byteorder) != b"little":
            raise pickle.UnpicklingError("its numbers are not little-endian")

    def load(self) -> object:
        """Run the pickle."""
        entry = self._entries[f"{self._root}data.pkl"]
        if entry.file_size > _LONGEST_PICKLE:
            raise pickle.UnpicklingError(f"its pickle has {entry.file_size:,} bytes")
        return _machine(_storage).run(io.BytesIO(self._content(entry)))

    def start(self, storage: _Storage) -> int:
        """Find the entry of a storage."""
        if not re.fullmatch(r"[0-9]{1,9}", storage.key):
            raise pickle.UnpicklingError("a storage with a strange name")
        entry = self._entries.get(f"{self._root}data/{storage.key}")
        if entry is None:
            raise pickle.UnpicklingError(f"storage {storage.key} is missing")
        if entry.file_size != storage.length * storage.dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {storage.key} is not as large as it says")
        return self._start(entry)

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Return where an entry's bytes start, which must be stored as they are."""
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise pickle.UnpicklingError(f"{entry.filename[:100]!r} is compressed")
        header = self._map[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
        magic, name, extra = _LOCAL_HEADER.unpack(header)
        start = int(entry.header_offset + _LOCAL_HEADER.size + name + extra)
        if magic != b"PK\x03\x04" or start + entry.file_size > len(self._map):
            raise pickle.UnpicklingError(f"{entry.filename[:100]!r} is cut short")
        return start

    def _content(self, entry: zipfile.ZipInfo) -> bytes:
        start = self._start(entry)
        return self._map[start : start + entry.file_size]


class _Legacy(_Checkpoint):
    """Pickles (a number, a version, the system, the object, the storages' keys), then storages."""

    def __init__(self, mapped: mmap.mmap) -> None:
        super().__init__(mapped)
        self._named: dict[str, _Storage] = {}
        self._starts: dict[str, int] = {}

    def load(self) -> object:
        """Run the pickles and find the storages behind them."""
        program = io.BytesIO(self._map[:_LONGEST_PICKLE])
        parts = [_machine(self._refer).run(program) for _ in range(5)]
        _, version, system, found, keys = parts
        if version != _LEGACY_VERSION or not isinstance(system, dict) or not isinstance(keys, list):
            raise pickle.UnpicklingError("of an unknown version of PyTorch")
        if system.get("little_endian") is not True:
            raise pickle.UnpicklingError("its numbers are not little-endian")
        place = program.tell()
        for key in keys:
            storage = self._named.get(key) if isinstance(key, str) else None
            said = self._map[place : place + _COUNT.size]
            if storage is None or _COUNT.unpack(said)[0] != storage.length:
                raise pickle.UnpicklingError("a storage that is not as large as it says")
            self._starts[storage.key] = place + _COUNT.size
            place += _COUNT.size + storage.length * storage.dtype.itemsize
        if place > len(self._map):
            raise pickle.UnpicklingError("cut short")
        return found

    def start(self, storage: _Storage) -> int:
        """Return where a storage was found."""
        if storage.key not in self._starts or self._named[storage.key] != storage:
            raise pickle.UnpicklingError("a storage that is missing")
        return self._starts[storage.key]

    def _refer(self, found: object) -> object:
        if isinstance(found, tuple) and len(found) == _MODULE and found[0] == "module":
            return found[1]  # its class
        storage = _storage(found)
        return self._named.setdefault(storage.key, storage)


def _machine(refer: Callable[[object], object]) -> Machine:
    """Return a machine that knows tensors' functions and inert classes, and nothing else."""
    names: dict[tuple[str, str], object] = {
        ("collections", "OrderedDict"): Function(plain_dict),
        ("__builtin__", "set"): Function(lambda *_: []),
        ("builtins", "set"): Function(lambda *_: []),
        ("torch", "Size"): Function(lambda *sizes: sizes),
        ("torch._utils", "_rebuild_tensor_v2"): Function(_view),
        ("torch._utils", "_rebuild_parameter"): Function(lambda data, *_: data),
    }
    names |= {("torch", name): dtype for name, dtype in _STORAGES.items()}
    names |= {name: type(name[1], (Inert,), {}) for name in _INERT}
    return Machine(names, refer)


def _storage(found: object) -> _Storage:
    """Return the storage that a persistent id means."""
    if isinstance(found, tuple) and len(found) in (5, 6) and isinstance(found[0], str):
        kind, dtype, key, _, count = found[:5]
        is_known = isinstance(dtype, torch.dtype) and isinstance(key, str)
        if kind == "storage" and is_known and _are_sizes((count,)) and found[5:] in ((), (None,)):
            return _Storage(dtype, key, count)
    raise pickle.UnpicklingError("a strange storage")


def _view(storage: object, offset: object, size: object, stride: object, *_: object) -> _View:
    """Describe a tensor; only contiguous ones occur in checkpoints of weights."""
    if not isinstance(storage, _Storage) or not (_are_sizes(size) and _are_sizes(stride)):
        raise pickle.UnpicklingError("a strange tensor")
    if type(offset) is not int or offset < 0 or not _is_contiguous(size, stride):
        raise pickle.UnpicklingError("a tensor that is not contiguous")
    return _View(storage, offset, size)


def _are_sizes(numbers: object) -> TypeGuard[tuple[int, ...]]:
    return (
        isinstance(numbers, tuple)
        and len(numbers) <= MOST_DIMENSIONS
        and all(type(number) is int and 0 <= number < 1 << 40 for number in numbers)
    )


def _is_contiguous(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = [prod(size[i + 1 :]) for i in range(len(size))]
    return len(stride) == len(size) and all(
        have == want
        for have, want, length in zip(stride, expected, size, strict=True)
        if length > 1
    )


def _state_of(found: object, depth: int = 0) -> dict[str, _View]:
    """Return the tensors of what a pickle built, named as in a state dict."""
    if isinstance(found, Inert):
        return dict(_module_tensors(found))
    if not isinstance(found, Mapping) or not found:
        raise pickle.UnpicklingError("it holds no weights")
    if all(isinstance(k, str) and isinstance(t, _View) for k, t in found.items()):
        return dict(found)
    for key in _NESTS:
        if depth < _DEEPEST and isinstance(found.get(key), Mapping | Inert):
            return _state_of(found[key], depth + 1)
    raise pickle.UnpicklingError("it holds more than named tensors")


def _module_tensors(root: Inert) -> Iterator[tuple[str, _View]]:
    """Yield parameters and buffers of a pickled module and of those in it."""
    waiting, seen = [("", root)], 0
    while waiting:
        prefix, module = waiting.pop()
        parts = [_attribute(module, kind) for kind in ("_parameters", "_buffers", "_modules")]
        seen += 1 + sum(map(len, parts))  # one module may be in another a thousand times
        if seen > MOST_TENSORS or prefix.count(".") > _DEEPEST:
            raise pickle.UnpicklingError("modules within modules without end")
        for name, found in chain(*parts):
            if isinstance(found, _View):
                yield f"{prefix}{name}", found
            elif isinstance(found, Inert):
                waiting.append((f"{prefix}{name}.", found))


def _attribute(module: Inert, kind: str) -> list[tuple[str, object]]:
    found = vars(module).get(kind)
    items = found.items() if isinstance(found, Mapping) else ()
    return [(name, x) for name, x in items if isinstance(name, str) and len(name) < _LONGEST_NAME]
