"""What every format writes and reads: consecutive sequences with their embeddings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError

#: Embeddings are numbers of one of these types.
DTYPES = (np.dtype("<f4"), np.dtype("<f2"))
#: Readers hold about this many bytes of values at once.
BYTES_AT_ONCE = 8 << 20


@dataclass(frozen=True)
class Shape:
    """What all rows have together, known before anything is written.

    Attributes:
        sequences: how many sequences, N.
        rows: rows of all of them: N, or R when ragged.
        width: numbers in a row, D, at least 1.
        longest_id: letters of the longest id.
        dtype: float32 or float16.
        is_ragged: a sequence has several rows (or none), not exactly one.
    """

    sequences: int
    rows: int
    width: int
    longest_id: int
    dtype: np.dtype[np.floating[Any]]
    is_ragged: bool


class Part(NamedTuple):
    """Consecutive sequences.

    Attributes:
        ids: their ids, without line breaks.
        lengths: letters of each sequence.
        counts: rows of each sequence; all 1 when not ragged.
        values_RD: the rows of all of them, end to end.
    """

    ids: list[str]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    values_RD: NDArray[np.floating[Any]]

    def embeddings(self, *, is_ragged: bool) -> Iterator[NDArray[np.floating[Any]]]:
        """Yield a copy of each sequence's rows, [n, D], or of its one row, [D]."""
        end = 0
        for count in self.counts.tolist():
            start, end = end, end + count
            yield self.values_RD[start:end].copy() if is_ragged else self.values_RD[start].copy()


class Contents(NamedTuple):
    """What a file says about itself: see `Shape` for the words."""

    metadata: dict[str, str]
    sequences: int
    width: int
    dtype: np.dtype[np.floating[Any]]
    is_ragged: bool


class OpenFile(Protocol):
    """An open file of embeddings. Whatever it raises means that the file is damaged."""

    @property
    def contents(self) -> Contents:
        """What the file says about itself."""

    def parts(self) -> Iterator[Part]:
        """Read all sequences in order, about `BYTES_AT_ONCE` at a time."""


def checked(shape: Shape, parts: Iterable[Part]) -> Iterator[Part]:
    """Pass parts on as long as they are what their shape promises.

    Raises:
        ValueError: they are not.
        InputError: an id holds a NUL, which not every format can keep.
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


def spans(counts: NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Cut consecutive sequences into groups of at most `rows` rows, or of one sequence.

    Yields:
        The index of the first sequence of a group, and of the first after it.
    """
    ends = np.cumsum(counts)
    start = done = 0
    while start < len(counts):
        end = max(start + 1, int(np.searchsorted(ends, done + rows, side="right")))
        yield start, end
        start, done = end, int(ends[end - 1])


def rows_in(size: int, width: int, dtype: np.dtype[Any]) -> int:
    """Return how many rows of `width` numbers fit in `size` bytes, at least one."""
    return max(1, size // (width * dtype.itemsize))
