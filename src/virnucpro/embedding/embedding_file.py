"""Embeddings of sequences on disk: written and read a part at a time, in four formats.

Every file holds for each sequence, in order, its id, its number of letters and its embedding:
one vector, or one for each of its residues (ragged). See docs/outputs.md for the layouts.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from virnucpro.embedding.formats import hdf5, npz, parquet, safetensors
from virnucpro.embedding.formats.parts import Contents, OpenFile, Part, Shape, checked
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

#: The name of the file in an output directory, for each format.
FORMATS = {
    "parquet": "embeddings.parquet",
    "hdf5": "embeddings.h5",
    "npz": "embeddings.npz",
    "safetensors": "embeddings.safetensors",
}
#: What writes each, which is loaded when it is needed.
LIBRARIES = {"parquet": ("pyarrow.parquet",), "hdf5": ("h5py",), "npz": (), "safetensors": ()}
_MODULES: dict[str, ModuleType] = {
    "parquet": parquet,
    "hdf5": hdf5,
    "npz": npz,
    "safetensors": safetensors,
}
#: How files of a format begin, after so many bytes.
_MAGIC = {
    "parquet": (0, b"PAR1"),
    "hdf5": (0, b"\x89HDF\r\n\x1a\n"),
    "npz": (0, b"PK\x03\x04"),
    "safetensors": (8, b"{"),
}

_TO_DO = "give a file of embeddings, or run embed again"


def write_embeddings(
    path: Path,
    format_: str,
    shape: Shape,
    metadata: Mapping[str, str],
    parts: Iterable[Part],
) -> None:
    """Write a file of embeddings; it appears whole or not at all.

    Holds one part at a time. The same arguments give the same bytes.

    Args:
        path: where to; a file that is there is replaced.
        format_: one of `FORMATS`.
        shape: what the parts have together.
        metadata: about the file, text by name.
        parts: all sequences in order.

    Raises:
        SettingsError: there is no such format.
        InputError: an id holds a NUL, which not every format can keep.
        ValueError: the parts are not what `shape` says.
    """
    if format_ not in FORMATS:
        raise SettingsError(f"format {format_}: not one of {', '.join(FORMATS)}")
    with replacing(path) as beside:
        _MODULES[format_].write(beside, shape, metadata, checked(shape, parts))


def open_embeddings(path: Path) -> "EmbeddingFile":
    """Open a file of embeddings of any format, whatever its name.

    Raises:
        InputError: it is none, or damaged.
    """
    with reading(path, _TO_DO):
        with path.open("rb") as file:
            begin = file.read(16)
        for format_, (offset, magic) in _MAGIC.items():
            if begin[offset:].startswith(magic):
                with _MODULES[format_].open_file(path) as opened:
                    return EmbeddingFile(path, format_, opened.contents)
    raise InputError(f"{path}: not a file of embeddings ({', '.join(FORMATS)})")


class EmbeddingFile:
    """A file of embeddings; iterate over it for the id and the embedding of each sequence.

    Every iteration opens the file itself and holds a few megabytes of it at a time. The arrays
    are [D], or [n, D] when ragged, and the reader's to keep. Iterating raises InputError where
    the file turns out to be damaged.

    Attributes:
        path: where it lies.
        format: one of `FORMATS`.
        metadata: what it was written with.
        width: numbers in a vector, D.
        dtype: float32 or float16.
        is_ragged: sequences have several vectors.
    """

    def __init__(self, path: Path, format_: str, contents: Contents) -> None:
        if contents.sequences < 0:
            raise ValueError("it says that it has fewer than no sequences")
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
        """Read all sequences in order, some at a time; the arrays may be read-only.

        Raises:
            InputError: the file is damaged.
        """
        with reading(self.path, _TO_DO):
            opened: OpenFile
            with _MODULES[self.format].open_file(self.path) as opened:
                yield from opened.parts()

    def to_anndata(self) -> "AnnData":
        """Return all embeddings in memory as annotated data.

        Returns:
            X [N, D] of the file's type; obs has the ids, with -1, -2 ... after those that came
            before, and `length`; uns["virnucpro"] is the metadata.

        Raises:
            InputError: sequences have several vectors, or the file is damaged.
            SettingsError: anndata is not installed.
        """
        if self.is_ragged:
            raise InputError(
                f"{self.path}: has a vector for each residue; AnnData takes one a sequence"
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
    """Append a number to ids that came before."""
    taken = set(ids)
    seen: dict[str, int] = {}
    names = []
    for id_ in ids:
        name = id_
        if id_ in seen:
            while name in taken:
                seen[id_] += 1
                name = f"{id_}-{seen[id_]}"
            taken.add(name)
        else:
            seen[id_] = 0
        names.append(name)
    return names
