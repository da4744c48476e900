"""Reads and writes files of embeddings in four formats, one part at a time.

A file holds for each sequence, in order, its id, its number of letters and its embedding: one
vector, or one for each token (ragged). docs/embed.md describes the layouts.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from virnucpro.embedding.formats import hdf5, npz, parquet, safetensors
from virnucpro.embedding.formats.interface import Contents, OpenFile, Part, Shape, checked_parts
from virnucpro.errors import InputError, SettingsError, reading
from virnucpro.files import replacing

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "FORMATS",
    "LIBRARIES",
    "EmbeddingFile",
    "Part",
    "Shape",
    "open_embeddings",
    "write_embeddings",
]

#: Name of the file in an output directory by format.
FORMATS = {
    "parquet": "embeddings.parquet",
    "hdf5": "embeddings.h5",
    "npz": "embeddings.npz",
    "safetensors": "embeddings.safetensors",
}
#: Modules that a format needs; they are imported on demand.
LIBRARIES = {"parquet": ("pyarrow.parquet",), "hdf5": ("h5py",), "npz": (), "safetensors": ()}
_MODULES: dict[str, ModuleType] = {
    "parquet": parquet,
    "hdf5": hdf5,
    "npz": npz,
    "safetensors": safetensors,
}
#: Offset and first bytes by which files of a format are recognised.
_MAGIC = {
    "parquet": (0, b"PAR1"),
    "hdf5": (0, b"\x89HDF\r\n\x1a\n"),
    "npz": (0, b"PK\x03\x04"),
    "safetensors": (8, b"{"),
}

_REMEDY = "give a file of embeddings, or run embed again"


def write_embeddings(
    path: Path,
    format_: str,
    shape: Shape,
    metadata: Mapping[str, str],
    parts: Iterable[Part],
) -> None:
    """Write a file of embeddings; it appears whole or not at all.

    Only one part is in memory at a time. The same arguments give the same bytes.

    Args:
        path: path of the file; an existing file is replaced.
        format_: one of `FORMATS`.
        shape: shape of all parts together.
        metadata: text by name.
        parts: all sequences in order.

    Raises:
        SettingsError: the format is unknown.
        InputError: an id holds a NUL, which some formats cannot store.
        ValueError: the parts do not agree with `shape`.
    """
    if format_ not in FORMATS:
        raise SettingsError(f"format {format_}: not one of {', '.join(FORMATS)}")
    with replacing(path) as partial:
        _MODULES[format_].write(partial, shape, metadata, checked_parts(shape, parts))


def open_embeddings(path: Path) -> "EmbeddingFile":
    """Open a file of embeddings; its content decides the format, not its name.

    Raises:
        InputError: the file does not hold embeddings, or is damaged.
    """
    with reading(path, _REMEDY):
        with path.open("rb") as file:
            head = file.read(16)
        for format_, (offset, magic) in _MAGIC.items():
            if head[offset:].startswith(magic):
                with _MODULES[format_].open_file(path) as opened:
                    return EmbeddingFile(path, format_, opened.contents)
    raise InputError(f"{path}: not a file of embeddings ({', '.join(FORMATS)})")


class EmbeddingFile:
    """A file of embeddings; iterate over it for the id and the embedding of each sequence.

    Every iteration opens the file and reads a few megabytes at a time. The arrays have the shape
    [D], or [n, D] if ragged, and are copies. Iterating raises InputError at the first damage.

    Attributes:
        path: path of the file.
        format: one of `FORMATS`.
        metadata: metadata of the file, text by name.
        width: numbers in a vector, D.
        dtype: float32 or float16.
        is_ragged: whether a sequence has a vector for each token.
    """

    def __init__(self, path: Path, format_: str, contents: Contents) -> None:
        if contents.sequences < 0:
            raise ValueError("its number of sequences is negative")
        self.path = path
        self.format = format_
        self.metadata = contents.metadata
        self.width = contents.width
        self.dtype = contents.dtype
        self.is_ragged = contents.is_ragged
        self._sequences = contents.sequences

    def __len__(self) -> int:
        """Return the number of sequences."""
        return self._sequences

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.floating[Any]]]]:
        for part in self.parts():
            yield from zip(part.ids, part.embeddings(is_ragged=self.is_ragged), strict=True)

    def parts(self) -> Iterator[Part]:
        """Read all sequences in order, one part at a time; the arrays may be read-only.

        Raises:
            InputError: the file is damaged.
        """
        with reading(self.path, _REMEDY):
            opened: OpenFile
            with _MODULES[self.format].open_file(self.path) as opened:
                yield from opened.parts()

    def to_anndata(self) -> "AnnData":
        """Return all embeddings as annotated data in memory.

        Returns:
            X [N, D] with the type of the file; obs with the ids (repeated ids get the suffixes -1,
            -2 ...) and `length`; and the metadata in uns["virnucpro"].

        Raises:
            InputError: sequences have several vectors each, or the file is damaged.
            SettingsError: anndata is not installed.
        """
        if self.is_ragged:
            raise InputError(
                f"{self.path}: has a vector for each residue; AnnData takes one per sequence"
            )
        try:
            from anndata import AnnData  # noqa: PLC0415 (an extra)
        except ModuleNotFoundError:
            raise SettingsError(
                "to_anndata needs anndata; pip install 'virnucpro[anndata]'"
            ) from None
        X = np.empty((len(self), self.width), self.dtype)
        lengths = np.empty(len(self), np.int64)
        ids: list[str] = []
        for part in self.parts():
            rows = slice(len(ids), len(ids) + len(part.ids))
            X[rows], lengths[rows] = part.values_RD, part.lengths
            ids += part.ids
        metadata = {"virnucpro": dict(self.metadata)}
        data = AnnData(X=X, obs={"length": lengths}, uns=metadata)
        data.obs_names = _unique(ids)
        return data


def _unique(ids: list[str]) -> list[str]:
    """Append a number to repeated ids."""
    taken = set(ids)
    last_number: dict[str, int] = {}
    names = []
    for id_ in ids:
        name = id_
        if id_ in last_number:
            while name in taken:
                last_number[id_] += 1
                name = f"{id_}-{last_number[id_]}"
            taken.add(name)
        else:
            last_number[id_] = 0
        names.append(name)
    return names
