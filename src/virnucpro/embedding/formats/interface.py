"""The types that all formats read and write, and the checks that they share."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError

#: Types that embeddings can have.
DTYPES = (np.dtype("<f4"), np.dtype("<f2"))
#: Readers hold about this many bytes of values in memory.
BYTES_AT_ONCE = 8 << 20


@dataclass(frozen=True)
class Shape:
    """The shape of the content of a file, known before anything is written.

    Attributes:
        sequences: number of sequences, N.
        rows: number of rows of all sequences: N, or R if ragged.
        width: numbers in a row, D, at least 1.
        longest_id: number of letters of the longest id.
        dtype: float32 or float16.
        is_ragged: whether a sequence may have any number of rows, not exactly one.
    """

    sequences: int
    rows: int
    width: int
    longest_id: int
    dtype: np.dtype[np.floating[Any]]
    is_ragged: bool


class Part(NamedTuple):
    """Consecutive sequences with their embeddings.

    Attributes:
        ids: id of each sequence, without line breaks.
        lengths: number of letters of each sequence.
        counts: number of rows of each sequence; all 1 if not ragged.
        values_RD: rows of all sequences, end to end.
    """

    ids: list[str]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    values_RD: NDArray[np.floating[Any]]

    def embeddings(self, *, is_ragged: bool) -> Iterator[NDArray[np.floating[Any]]]:
        """Yield a copy of the rows of each sequence, [n, D], or of its single row, [D]."""
        end = 0
        for count in self.counts.tolist():
            start, end = end, end + count
            yield self.values_RD[start:end].copy() if is_ragged else self.values_RD[start].copy()


class Contents(NamedTuple):
    """The header of a file; `Shape` explains the attributes."""

    metadata: dict[str, str]
    sequences: int
    width: int
    dtype: np.dtype[np.floating[Any]]
    is_ragged: bool


class OpenFile(Protocol):
    """An open file of embeddings; every exception that it raises means that it is damaged."""

    @property
    def contents(self) -> Contents:
        """The header of the file."""

    def parts(self) -> Iterator[Part]:
        """Read all sequences in order, about `BYTES_AT_ONCE` at a time."""


def checked_parts(shape: Shape, parts: Iterable[Part]) -> Iterator[Part]:
    """Yield the parts and check that they agree with the shape.

    Raises:
        ValueError: the parts do not agree with the shape.
        InputError: an id holds a NUL, which some formats cannot store.
    """
    sequences = rows = 0
    for part in parts:
        expected = (len(part.ids), len(part.ids), (int(part.counts.sum()), shape.width))
        if (len(part.lengths), len(part.counts), part.values_RD.shape) != expected:
            raise ValueError(f"a part of {len(part.ids)} sequences has columns of other lengths")
        if part.values_RD.dtype != shape.dtype:
            raise ValueError(f"a part has {part.values_RD.dtype}, not {shape.dtype}")
        if not shape.is_ragged and (part.counts != 1).any():
            raise ValueError("a sequence has not exactly one row")
        for id_ in part.ids:
            _check_id(id_, shape.longest_id)
        sequences += len(part.ids)
        rows += len(part.values_RD)
        yield part
    if (sequences, rows) != (shape.sequences, shape.rows):
        raise ValueError(
            f"{sequences} sequences and {rows} rows, not {shape.sequences} and {shape.rows}"
        )


def _check_id(id_: str, longest: int) -> None:
    if len(id_) > longest or "\n" in id_:
        raise ValueError(f"id {id_!r} is longer than {longest} letters or has a line break")
    if "\0" in id_:
        raise InputError(
            f"record {id_}: files of embeddings cannot hold the NUL in its id; rename it"
        )


def row_groups(counts: NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Divide consecutive sequences into groups of at most `rows` rows, or of one sequence.

    Yields:
        the index of the first sequence of a group, and that of the first one after it.
    """
    ends = np.cumsum(counts)
    start = done = 0
    while start < len(counts):
        end = max(start + 1, int(np.searchsorted(ends, done + rows, side="right")))
        yield start, end
        start, done = end, int(ends[end - 1])


def rows_in(size: int, width: int, dtype: np.dtype[Any]) -> int:
    """Return the number of rows of `width` numbers that fit into `size` bytes, at least one."""
    return max(1, size // (width * dtype.itemsize))
