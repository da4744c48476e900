"""safetensors: a JSON header, then the arrays; `ids` are UTF-8 bytes, one line per id."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from virnucpro.embedding.formats.arrays import Arrays, Layout, array_layouts, array_parts
from virnucpro.embedding.formats.interface import Part, Shape

_DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "U8": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
#: Number of bytes of ids that are read at a time.
_ID_BYTES = 1 << 20


def write(path: Path, shape: Shape, metadata: Mapping[str, str], parts: Iterable[Part]) -> None:
    """Write a file; see `write_embeddings`.

    `ids` come last, because their number of bytes is not known in advance; space is reserved for
    the header, which states it. The order of the other arrays keeps each aligned.
    """
    layouts = array_layouts(shape)
    most_id_bytes = shape.sequences * (4 * shape.longest_id + 1)
    room = len(_header(metadata, layouts, most_id_bytes))
    room += -room % 8
    ends = {}
    begin = 8 + room
    for name, layout in layouts.items():
        ends[name] = begin
        begin += layout.nbytes
    with path.open("wb") as file:
        id_end = begin
        for part in array_parts(shape, parts):
            for name, values in part.arrays.items():
                file.seek(ends[name])
                ends[name] += file.write(values.data)
            file.seek(id_end)
            id_end += file.write("".join(f"{id_}\n" for id_ in part.ids).encode())
        id_bytes = max(0, id_end - begin - 1)  # without the last line break
        file.truncate(begin + id_bytes)
        file.seek(0)
        file.write(room.to_bytes(8, "little"))
        file.write(_header(metadata, layouts, id_bytes).ljust(room))


def _header(metadata: Mapping[str, str], layouts: dict[str, Layout], id_bytes: int) -> bytes:
    """Return the header without padding."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    begin = 0
    for name, layout in (layouts | {"ids": Layout(np.dtype("u1"), (id_bytes,))}).items():
        header[name] = {
            "dtype": _NAMES[layout.dtype],
            "shape": layout.shape,
            "data_offsets": [begin, begin + layout.nbytes],
        }
        begin += layout.nbytes
    return json.dumps(header, separators=(",", ":")).encode()


class _Tensor:
    """A tensor of an open file, read in slices; see `Array`."""

    def __init__(self, file: Any, name: str) -> None:  # noqa: ANN401 (has no public type)
        self._slice = file.get_slice(name)
        self.shape = tuple(self._slice.get_shape())
        self.dtype = _DTYPES[self._slice.get_dtype()]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        if rows.start == rows.stop:  # the library refuses empty slices
            return np.empty((0, *self.shape[1:]), self.dtype)
        return np.asarray(self._slice[rows])

    def lines(self) -> Iterator[str]:
        """Yield the lines of a text."""
        (size,) = self.shape
        rest = b""
        for start in range(0, size, _ID_BYTES):
            piece = self[start : min(start + _ID_BYTES, size)].tobytes()
            *lines, rest = (rest + piece).split(b"\n")
            yield from (line.decode() for line in lines)
        yield rest.decode()


@contextmanager
def open_file(path: Path) -> Iterator[Arrays]:
    """Open a file; see `OpenFile`."""
    with safe_open(path, framework="np") as file:
        yield Arrays(
            file.metadata() or {},
            path.stat().st_size,
            _Tensor(file, "ids").lines(),
            _Tensor(file, "lengths"),
            _Tensor(file, "embeddings"),
            _Tensor(file, "offsets") if "offsets" in file.keys() else None,  # noqa: SIM118 (no dict)
        )
