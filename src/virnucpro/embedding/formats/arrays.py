"""The arrays in HDF5, npz and safetensors files; names, shapes and types are the same in all.

`lengths` is int64 [N]. `embeddings` is [N, D], or [R, D] if ragged; then `offsets`, int64 [N + 1],
has the rows at which sequences begin. Each format stores `ids` and metadata in its own way.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from virnucpro.embedding.formats.interface import (
    BYTES_AT_ONCE,
    DTYPES,
    Contents,
    Part,
    Shape,
    row_groups,
    rows_in,
)

INT64 = np.dtype("<i8")
#: Largest number of ids that readers hold in memory.
SEQUENCES_AT_ONCE = 4096


class Layout(NamedTuple):
    """The type and shape of an array in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Number of bytes of the values."""
        return prod(self.shape) * self.dtype.itemsize


def array_layouts(shape: Shape) -> dict[str, Layout]:
    """Return the layouts of the arrays of numbers, widest type first."""
    lengths = {"lengths": Layout(INT64, (shape.sequences,))}
    offsets = {"offsets": Layout(INT64, (shape.sequences + 1,))} if shape.is_ragged else {}
    embeddings = {"embeddings": Layout(shape.dtype, (shape.rows, shape.width))}
    return lengths | offsets | embeddings


class ArrayPart(NamedTuple):
    """Values to append to `ids` and to the arrays of numbers."""

    ids: list[str]
    arrays: dict[str, NDArray[Any]]


def array_parts(shape: Shape, parts: Iterable[Part]) -> Iterator[ArrayPart]:
    """Yield the values of each part that are appended to the arrays."""
    row = 0
    if shape.is_ragged:
        yield ArrayPart([], {"offsets": np.zeros(1, INT64)})
    for part in parts:
        arrays = {
            "lengths": np.ascontiguousarray(part.lengths, INT64),
            "embeddings": np.ascontiguousarray(part.values_RD),
        }
        if shape.is_ragged:
            arrays["offsets"] = row + np.cumsum(part.counts, dtype=INT64)
        row += len(part.values_RD)
        yield ArrayPart(part.ids, arrays)


class Array(Protocol):
    """An array on disk that is read in slices."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Read consecutive rows."""


@dataclass(frozen=True)
class Arrays:
    """The arrays of an open file; see `OpenFile`.

    Attributes:
        metadata: metadata of the file, text by name.
        size: number of bytes of the file, an upper bound of the size of the arrays.
        ids: all ids in order, read as needed.
        lengths: array of the shape [N].
        embeddings: array of the shape [N, D] or [R, D].
        offsets: array of the shape [N + 1]; None if a sequence has one row.
    """

    metadata: dict[str, str]
    size: int
    ids: Iterator[str]
    lengths: Array
    embeddings: Array
    offsets: Array | None

    @property
    def contents(self) -> Contents:
        """The header of the file; ValueError if it is inconsistent."""
        rows, width = self.embeddings.shape
        (sequences,) = self.lengths.shape
        offsets = () if self.offsets is None else (self.offsets,)
        is_consistent = (
            width > 0
            and self.embeddings.dtype in DTYPES
            and all(array.dtype == INT64 for array in (self.lengths, *offsets))
            and all(array.shape == (sequences + 1,) for array in offsets)
            and (bool(offsets) or rows == sequences)
        )
        if not is_consistent:
            raise ValueError("its arrays do not have the shapes and types of embeddings")
        arrays = (self.lengths, self.embeddings, *offsets)
        if sum(Layout(array.dtype, array.shape).nbytes for array in arrays) > self.size:
            raise ValueError("it ends early")
        return Contents(
            self.metadata, sequences, width, self.embeddings.dtype, self.offsets is not None
        )

    def parts(self) -> Iterator[Part]:
        """Read all sequences in order; ValueError if the arrays contradict each other."""
        contents = self.contents
        most = rows_in(BYTES_AT_ONCE, contents.width, contents.dtype)
        row = 0
        for start in range(0, contents.sequences, SEQUENCES_AT_ONCE):
            end = min(start + SEQUENCES_AT_ONCE, contents.sequences)
            ids = list(islice(self.ids, end - start))
            lengths = self.lengths[start:end]
            offsets = self._offsets(start, end)
            counts = np.diff(offsets)
            if len(ids) != end - start or offsets[0] != row or (counts < 0).any():
                raise ValueError("its ids or offsets are damaged")
            for a, b in row_groups(counts, most):
                values_RD = self.embeddings[int(offsets[a]) : int(offsets[b])]
                yield Part(ids[a:b], lengths[a:b], counts[a:b], values_RD)
            row = int(offsets[-1])
        if row != self.embeddings.shape[0] or next(self.ids, None):
            raise ValueError("it has more rows or ids than sequences")

    def _offsets(self, start: int, end: int) -> NDArray[np.int64]:
        if self.offsets is None:
            return np.arange(start, end + 1)
        offsets = self.offsets[start : end + 1]
        if offsets.max() > self.embeddings.shape[0]:
            raise ValueError("its offsets are damaged")
        return offsets
