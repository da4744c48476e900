"""Records from chunks, also where a record goes on over several shards."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES, ChunkScores, RecordScores, score_records
from virnucpro.classify.consensus import UNSCORED, Float64, Int64
from virnucpro.prediction.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Iterable

#: From scored chunks of records, and bases of a chunk, to the p_virus above which they are virus.
ThresholdOf = Callable[[Int64, Int64], Float64 | float]


class FinishedRecords(NamedTuple):
    """Records whose last chunk is in the shard at hand.

    Attributes:
        ids: their ids.
        lengths: bases of each, of both mates of a pair, int64.
        chunks: chunks of each, likewise, int64.
        scored_chunks: of these, with a score, int64.
        chunk_bases: of a chunk of each, the mean, int64; 0 where there is none.
        frames: open frames of each, int64.
        scores: score, call and tier of each.
        problems: why each cannot be processed, empty where it can.
        mates: reads of each, 1 or 2, int64.
        gc: share of G and C among its A, C, G and T; NaN where it has none of them.
    """

    ids: pl.Series
    lengths: NDArray[np.int64]
    chunks: NDArray[np.int64]
    scored_chunks: NDArray[np.int64]
    chunk_bases: NDArray[np.int64]
    frames: NDArray[np.int64]
    scores: RecordScores
    problems: list[str]
    mates: Int64
    gc: Float64

    @property
    def calls(self) -> list[str]:
        """The call of each in words."""
        return [CALL_NAMES[call] for call in self.scores.call.tolist()]


@dataclass
class _Unfinished:
    """What earlier shards hold of a record that goes on."""

    record_C: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    scores: ChunkScores = field(
        default_factory=lambda: ChunkScores(
            *(np.empty(0, t) for t in (int, float, float, np.uint8))
        )
    )
    counts_6: Int64 = field(default_factory=lambda: np.zeros(6, np.int64))
    problem: str = ""


class RecordAssembler:
    """Takes shards in order and gives back the records that they finish.

    Args:
        threshold_of: says which p_virus a virus is above.
    """

    def __init__(self, threshold_of: ThresholdOf) -> None:
        self._threshold_of = threshold_of
        self._unfinished = _Unfinished()

    def add(self, shard: Shard, scores: ChunkScores, ids: list[str]) -> FinishedRecords:
        """Return the records that end in a shard; `ids` are those of its pieces."""
        number, ends = shard.piece_P9[:, 0], shard.ends
        record_C = np.concatenate([self._unfinished.record_C, number[shard.chunk_C4[:, 0]]])
        joined: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(
            self._unfinished.scores, scores, strict=True
        )
        columns = [np.concatenate(parts) for parts in joined]
        finished = np.isin(record_C, number[ends])
        all_scores = ChunkScores(*(column[finished] for column in columns))
        place = np.searchsorted(number[ends], record_C[finished])
        count = int(ends.sum())
        scored = np.bincount(place[all_scores.call != UNSCORED], minlength=count)
        lengths, chunks, mates, gc, bases, spans = self._counts(shard).T
        chunk_bases = spans // np.maximum(chunks, 1)
        result = score_records(place, all_scores, count, self._threshold_of(scored, chunk_bases))
        self._unfinished.record_C = record_C[~finished]
        self._unfinished.scores = ChunkScores(*(column[~finished] for column in columns))
        return FinishedRecords(
            pl.Series(list(compress(ids, ends.tolist())), dtype=pl.String),
            lengths,
            chunks,
            scored,
            chunk_bases,
            np.bincount(place, weights=all_scores.frames, minlength=count).astype(np.int64),
            result,
            self._problems(lines(shard.problems), ends.tolist()),
            mates,
            np.divide(gc, bases, out=np.full(count, np.nan), where=bases > 0),
        )

    def _counts(self, shard: Shard) -> Int64:
        """Return counts of each finished record.

        They are of bases, chunks, mates, G or C, A, C, G or T, and bases of chunks.
        """
        _, length, chunks, _, last_chunk, _, gc, bases, _ = shard.piece_P9.T
        ends_mate = last_chunk == chunks
        piece_C, _, start_C, end_C = shard.chunk_C4.T
        spans = np.zeros_like(length)
        np.add.at(spans, piece_C, end_C - start_C)
        counts_P6 = np.column_stack(
            [length * ends_mate, chunks * ends_mate, ends_mate, gc, bases, spans]
        )
        ends = shard.ends
        counts_R6 = np.zeros((int(ends.sum()) + 1, 6), np.int64)
        np.add.at(counts_R6, np.cumsum(ends) - ends, counts_P6)
        counts_R6[0] += self._unfinished.counts_6
        self._unfinished.counts_6 = counts_R6[-1]
        return counts_R6[:-1]

    def _problems(self, problems: list[str], ends: list[bool]) -> list[str]:
        """Return the first problem of each finished record; keep that of an unfinished one."""
        found = []
        for problem, end in zip(problems, ends, strict=True):
            first = self._unfinished.problem or problem
            self._unfinished.problem = "" if end else first
            if end:
                found.append(first)
        return found


def lines(text: NDArray[np.uint8]) -> list[str]:
    """Return the lines of a shard's text."""
    return text.tobytes().decode().split("\n")
