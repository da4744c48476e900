"""Viral regions inside records (docs/contigs.md)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from virnucpro.bundles.manifest import Calibration
from virnucpro.classify import ChunkScores, score_records
from virnucpro.classify.consensus import UNSCORED, Float64, Int64
from virnucpro.classify.probability import at_prevalence, line_numbers, probabilities
from virnucpro.classify.segments import LEAST_CHUNKS, mean_score, viral_segments
from virnucpro.prediction.shard import Shard


class Region(NamedTuple):
    """A viral region of a record.

    Attributes:
        record: name of the record.
        start: first base, 0-based.
        end: one past the last base.
        p_virus: p_virus of a record with only these chunks.
        chunks: number of scored chunks in the region.
        chance: mean probability, over log odds, that a chunk of it is viral as a record of its own
            at a prevalence of 0.5; above 0.5; None without a calibration.
    """

    record: str
    start: int
    end: int
    p_virus: float
    chunks: int
    chance: float | None = None

    @property
    def score(self) -> float:
        """The chance, by which it is a region, or `p_virus` without a calibration."""
        return self.p_virus if self.chance is None else self.chance

    @property
    def thousandths(self) -> int:
        """The score as BED holds it, up to 1000."""
        return round(1000 * self.score)


class RecordRegions(NamedTuple):
    """The viral regions of a record that has some.

    Attributes:
        number: number of the record, from 1.
        length: bases of the record.
        regions: its regions in order, at least one.
    """

    number: int
    length: int
    regions: list[Region]


class _Part(NamedTuple):
    """Scored chunks of a record: start and end of each, and their scores."""

    span_C2: Int64
    scores: ChunkScores


class RegionFinder:
    """Finds the regions of whole records; holds the chunks of a record that is not finished.

    Args:
        calibration: calibration of the bundle, if it has one.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self._calibration = calibration
        self._unfinished: list[_Part] = []

    def add(self, shard: Shard, scores: ChunkScores, names: list[str]) -> list[RecordRegions]:
        """Return the regions of the records that end in a shard; pairs have none.

        Args:
            shard: the next shard.
            scores: scores of its chunks.
            names: unique names of its pieces.
        """
        found = []
        number, length, chunks, _, last_chunk, mate, *_ = shard.piece_P9.T
        for piece in np.flatnonzero((chunks >= LEAST_CHUNKS) & (mate == 0)).tolist():
            self._unfinished.append(_part(shard, scores, piece))
            if last_chunk[piece] == chunks[piece]:
                part = _joined(self._unfinished)
                self._unfinished.clear()
                regions = list(regions_of(names[piece], *part, self._calibration))
                if regions:
                    found.append(RecordRegions(int(number[piece]) + 1, int(length[piece]), regions))
        return found


def _part(shard: Shard, scores: ChunkScores, piece: int) -> _Part:
    first, last = np.searchsorted(shard.chunk_C4[:, 0], [piece, piece + 1])
    scored = first + np.flatnonzero(scores.call[first:last] != UNSCORED)
    return _Part(shard.chunk_C4[scored, 2:], scores.taken(scored))


def _joined(parts: list[_Part]) -> _Part:
    spans, scores = zip(*parts, strict=True)
    return _Part(np.concatenate(spans), ChunkScores.joined(scores))


def regions_of(
    record: str, span_C2: Int64, scores: ChunkScores, calibration: Calibration | None = None
) -> Iterator[Region]:
    """Find the viral regions of a record; a segment that covers the whole record is not a region.

    Args:
        record: name of the record.
        span_C2: start and end of each scored chunk.
        scores: scores of the same chunks.
        calibration: turns the score of a chunk into a probability; without one the score itself
            is used.
    """
    chances = scores.balance
    if calibration is not None:
        chances = _chances(chances, span_C2, calibration)
    segments = viral_segments(chances)
    for start, end in segments:
        if end - start == len(span_C2):
            return
        inside = scores.taken(slice(start, end))
        rolled_up = score_records(np.zeros(end - start, np.int64), inside, 1, 0.5)
        yield Region(
            record,
            int(span_C2[start, 0]),
            int(span_C2[end - 1, 1]),
            float(rolled_up.p_virus[0]),
            end - start,
            None if calibration is None else mean_score(chances[start:end]),
        )


def _chances(scores_C: Float64, span_C2: Int64, calibration: Calibration) -> Float64:
    """Return the probability of each chunk, as a record of its own, at a prevalence of 0.5."""
    line = line_numbers(calibration, np.ones(len(scores_C), np.int64), np.diff(span_C2)[:, 0])
    return at_prevalence(probabilities(calibration, line, scores_C), calibration.prevalence, 0.5)
