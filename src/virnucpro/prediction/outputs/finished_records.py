"""Records from chunks, including records that go on over several shards."""

from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

import numpy as np
import polars as pl

from virnucpro.classify import CALL_NAMES, ChunkScores, RecordScores, score_records
from virnucpro.classify.consensus import UNSCORED, Float64, Int64
from virnucpro.prediction.outputs.probabilities import Probabilities
from virnucpro.prediction.shard import Shard
from virnucpro.runs.shard_text import lines_of


class FinishedRecords(NamedTuple):
    """The records whose last chunk is in a shard; numbers are int64 or float64, one per record.

    Attributes:
        ids: ids of the records.
        lengths: number of bases, of both mates of a pair.
        chunks: number of chunks, of both mates of a pair.
        scored_chunks: number of chunks that have a score.
        chunk_bases: mean bases of a chunk; 0 without chunks.
        frames: number of open frames.
        scores: score, call and tier of each record.
        problems: why a record cannot be processed; empty if it can.
        mates: number of reads: 2 for a pair, otherwise 1.
        gc: share of G and C among the letters A, C, G and T; NaN if there are none of them.
        probability: probability of a virus; NaN without a score or a calibration.
        fdr: false discovery rate; NaN without a score or a calibration.
    """

    ids: pl.Series
    lengths: Int64
    chunks: Int64
    scored_chunks: Int64
    chunk_bases: Int64
    frames: Int64
    scores: RecordScores
    problems: list[str]
    mates: Int64
    gc: Float64
    probability: Float64
    fdr: Float64

    @property
    def calls(self) -> list[str]:
        """Names of the calls of the records."""
        return [CALL_NAMES[call] for call in self.scores.call.tolist()]


@dataclass
class _Unfinished:
    """What earlier shards hold of a record that goes on."""

    record_C: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    scores: ChunkScores = field(
        default_factory=lambda: ChunkScores(
            *(np.empty(0, t) for t in (int, float, float, np.uint8))
        )
    )
    counts_6: Int64 = field(default_factory=lambda: np.zeros(6, np.int64))
    problem: str = ""


class RecordAssembler:
    """Takes shards in order and returns the records that end in each.

    Args:
        threshold: without probabilities, a record is a virus if its p_virus is above this.
        probabilities: what the scores of the run mean, if the bundle is calibrated.
    """

    def __init__(self, threshold: float, probabilities: Probabilities | None = None) -> None:
        self._threshold, self._probabilities = threshold, probabilities
        self._unfinished = _Unfinished()

    def add(self, shard: Shard, scores: ChunkScores, ids: list[str]) -> FinishedRecords:
        """Return the records that end in a shard.

        Args:
            shard: the next shard.
            scores: scores of its chunks.
            ids: ids of its pieces.
        """
        number, ends = shard.piece_P9[:, 0], shard.ends
        count = int(ends.sum())
        place, own_scores = self._finished_chunks(shard, scores, number[ends])
        scored = np.bincount(place[own_scores.call != UNSCORED], minlength=count)
        lengths, chunks, mates, gc, bases, spans = self._counts(shard).T
        chunk_bases = spans // np.maximum(chunks, 1)
        known = self._probabilities
        threshold = self._threshold if known is None else known.threshold_of(scored, chunk_bases)
        result = score_records(place, own_scores, count, threshold)
        missing = np.full(count, np.nan)
        probability, fdr = missing, missing
        if known is not None:
            probability, fdr = known.columns(result.p_virus, scored, chunk_bases)
        return FinishedRecords(
            pl.Series(list(compress(ids, ends.tolist())), dtype=pl.String),
            lengths,
            chunks,
            scored,
            chunk_bases,
            np.bincount(place, weights=own_scores.frames, minlength=count).astype(np.int64),
            result,
            self._problems(lines_of(shard.problems), ends.tolist()),
            mates,
            np.divide(gc, bases, out=np.full(count, np.nan), where=bases > 0),
            probability,
            fdr,
        )

    def _finished_chunks(
        self, shard: Shard, scores: ChunkScores, finished: Int64
    ) -> tuple[Int64, ChunkScores]:
        """Return all chunks of the finished records, and keep those of the unfinished one.

        Args:
            shard: the next shard.
            scores: scores of its chunks.
            finished: numbers of the records that end in it.

        Returns:
            the index of each chunk's record among the finished ones, and the scores.
        """
        record_C = np.concatenate(
            [self._unfinished.record_C, shard.piece_P9[shard.chunk_C4[:, 0], 0]]
        )
        all_scores = ChunkScores.joined([self._unfinished.scores, scores])
        is_finished = np.isin(record_C, finished)
        own, rest = np.flatnonzero(is_finished), np.flatnonzero(~is_finished)
        self._unfinished.record_C = record_C[rest]
        self._unfinished.scores = all_scores.taken(rest)
        return np.searchsorted(finished, record_C[own]), all_scores.taken(own)

    def _counts(self, shard: Shard) -> Int64:
        """Return six counts of each finished record.

        They are: bases; chunks; mates; G or C; A, C, G or T; bases of all chunks.
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
        """Return the first problem of each finished record; keep that of the unfinished one."""
        if not self._unfinished.problem and not any(problems):
            return [""] * sum(ends)
        found = []
        for problem, end in zip(problems, ends, strict=True):
            first = self._unfinished.problem or problem
            self._unfinished.problem = "" if end else first
            if end:
                found.append(first)
        return found
