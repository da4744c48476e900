"""The arrays that hdf5, npz and safetensors files hold: the same names, shapes and types.

`lengths` int64 [N] and `embeddings` [N, D]; when ragged, `embeddings` [R, D] and `offsets` int64
[N + 1], the rows where sequences begin. `ids` and the metadata are each format's own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from virnucpro.embedding.formats.parts import (
    BYTES_AT_ONCE,
    DTYPES,
    Contents,
    Part,
    Shape,
    rows_in,
    spans,
)

INT64 = np.dtype("<i8")
#: Readers hold at most this many ids at once.
SEQUENCES_AT_ONCE = 4096


class Layout(NamedTuple):
    """The type and shape of an array in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return prod(self.shape) * self.dtype.itemsize


def array_layouts(shape: Shape) -> dict[str, Layout]:
    """Return the arrays of numbers of a file, widest type first."""
    lengths = {"lengths": Layout(INT64, (shape.sequences,))}
    offsets = {"offsets": Layout(INT64, (shape.sequences + 1,))} if shape.is_ragged else {}
    embeddings = {"embeddings": Layout(shape.dtype, (shape.rows, shape.width))}
    return lengths | offsets | embeddings


class Piece(NamedTuple):
    """What to append to `ids` and to each array of numbers."""

    ids: list[str]
    arrays: dict[str, NDArray[Any]]


def pieces(shape: Shape, parts: Iterable[Part]) -> Iterator[Piece]:
    """Turn parts into pieces of the arrays."""
    row = 0
    if shape.is_ragged:
        yield Piece([], {"offsets": np.zeros(1, INT64)})
    for part in parts:
        arrays = {
            "lengths": np.ascontiguousarray(part.lengths, INT64),
            "embeddings": np.ascontiguousarray(part.values_RD),
        }
        if shape.is_ragged:
            arrays["offsets"] = row + np.cumsum(part.counts, dtype=INT64)
        row += len(part.values_RD)
        yield Piece(part.ids, arrays)


class Array(Protocol):
    """An array on disk of which slices can be read."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Read consecutive rows."""


@dataclass(frozen=True)
class Arrays:
    """The arrays of an open file; see `OpenFile`.

    Attributes:
        metadata: what the file was written with.
        size: bytes of the file, which no array may exceed.
        ids: all ids in order, read as they are asked for.
        lengths: [N].
        embeddings: [N, D] or [R, D].
        offsets: [N + 1], or none when a sequence has one row.
    """

    metadata: dict[str, str]
    size: int
    ids: Iterator[str]
    lengths: Array
    embeddings: Array
    offsets: Array | None

    @property
    def contents(self) -> Contents:
        """What the file says about itself; ValueError when that cannot be."""
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
        """Read all sequences in order; ValueError when the arrays contradict each other."""
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
            for a, b in spans(counts, most):
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
