"""NumPy's .npz: a zip archive without compression or pickles, one member per array.

`ids` are Unicode strings as wide as the longest id; `metadata` is a string of JSON.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from virnucpro.embedding.formats.arrays import (
    SEQUENCES_AT_ONCE,
    Arrays,
    Layout,
    array_layouts,
    array_parts,
)
from virnucpro.embedding.formats.interface import Part, Shape
from virnucpro.files import open_nameless


def write(path: Path, shape: Shape, metadata: Mapping[str, str], parts: Iterable[Part]) -> None:
    """Write a file; see `write_embeddings`.

    Embeddings are written into the archive at once, the small arrays first into nameless files.
    """
    id_dtype = np.dtype(f"<U{max(1, shape.longest_id)}")
    layouts = array_layouts(shape) | {"ids": Layout(id_dtype, (shape.sequences,))}
    text = np.array(json.dumps(dict(metadata)), dtype="<U")
    with ExitStack() as stack:
        archive = stack.enter_context(ZipFile(path, "w", ZIP_STORED))
        aside = {
            name: stack.enter_context(open_nameless(path))
            for name in layouts
            if name != "embeddings"
        }
        with _new_member(archive, "embeddings", layouts["embeddings"]) as member:
            files: dict[str, IO[bytes]] = aside | {"embeddings": member}
            for part in array_parts(shape, parts):
                for name, values in part.arrays.items():
                    files[name].write(values.data)
                files["ids"].write(np.array(part.ids, dtype=id_dtype).data)
        for name, file in aside.items():
            file.seek(0)
            with _new_member(archive, name, layouts[name]) as member:
                shutil.copyfileobj(file, member)
        with _new_member(archive, "metadata", Layout(text.dtype, ())) as member:
            member.write(text.tobytes())


def _new_member(archive: ZipFile, name: str, layout: Layout) -> IO[bytes]:
    """Begin an array of the archive."""
    # ZipInfo's default date is fixed, so the same content gives the same bytes.
    member = archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True)
    header = {
        "descr": npy.dtype_to_descr(layout.dtype),
        "fortran_order": False,
        "shape": layout.shape,
    }
    npy.write_array_header_1_0(member, header)
    return member


class _Member:
    """An array of an open archive, read in slices; see `Array`."""

    def __init__(self, stack: ExitStack, archive: ZipFile, name: str) -> None:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != ZIP_STORED:
            raise ValueError(f"its {name} are compressed")
        self._file = stack.enter_context(archive.open(info))
        if npy.read_magic(self._file) != (1, 0):
            raise ValueError(f"its {name} have another header")
        self.shape, is_fortran, self.dtype = npy.read_array_header_1_0(self._file)
        self._begin = self._file.tell()
        size = Layout(self.dtype, self.shape).nbytes
        if is_fortran or self.dtype.hasobject or self._begin + size != info.file_size:
            raise ValueError(f"its {name} are damaged")

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        shape = (rows.stop - rows.start, *self.shape[1:])
        row_bytes = Layout(self.dtype, self.shape[1:]).nbytes
        self._file.seek(self._begin + rows.start * row_bytes)
        content = self._file.read(shape[0] * row_bytes)
        return np.frombuffer(content, self.dtype).reshape(shape)

    def strings(self) -> Iterator[str]:
        """Yield the strings of an array."""
        (count,) = self.shape
        for start in range(0, count, SEQUENCES_AT_ONCE):
            yield from self[start : min(start + SEQUENCES_AT_ONCE, count)].tolist()

    def string(self) -> str:
        """Read a single string."""
        return str(np.frombuffer(self._file.read(), self.dtype)[0])


@contextmanager
def open_file(path: Path) -> Iterator[Arrays]:
    """Open a file; see `OpenFile`."""
    with ExitStack() as stack:
        archive = stack.enter_context(ZipFile(path))
        open_member = partial(_Member, stack, archive)
        ids = open_member("ids")
        metadata = json.loads(open_member("metadata").string())
        if ids.dtype.kind != "U" or not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("its ids or metadata are not text")
        yield Arrays(
            metadata,
            path.stat().st_size,
            ids.strings(),
            open_member("lengths"),
            open_member("embeddings"),
            open_member("offsets") if "offsets.npy" in archive.namelist() else None,
        )
