"""The consensus of frames: scores and calls of chunks and records.

The scores of a frame are P(other) and P(virus). The two scores of a chunk are the maxima over its
frames (Li et al. 2025). The score of a record is the weighted mean difference of the two scores of
its chunks; viral-ngs rolls VirNucPro's tables up in this way.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Index into `CALL_NAMES`.
OTHER, VIRUS, UNSCORED = range(3)
CALL_NAMES = ("other", "virus", "unscored")
TIER_NAMES = ("low", "moderate", "high")
#: Calls that roll-ups of contigs downstream derive from the weighted delta.
ROLLUP_NAMES = ("ambiguous", "viral", "non_viral")

# Constants of the roll-up (docs/method.md): when chunks are confident, and the limits of tiers.
_CONFIDENT_ABOVE, _CONFIDENT_BELOW = 0.8, 0.3
_AMBIGUOUS_ABOVE = 0.7
_LEAST_CONFIDENT_SHARE = 0.1
_HIGH_DELTA = 0.6
_LEAST_CHUNKS = 5
_ROLLED_UP_ABOVE = 0.3


class ChunkScores(NamedTuple):
    """Scores and calls of chunks, one entry per chunk.

    Attributes:
        frames: number of open frames, int64.
        p_other: largest P(other), NaN if no frame is open.
        p_virus: largest P(virus), NaN if no frame is open.
        call: index into `CALL_NAMES`, uint8.
    """

    frames: Int64
    p_other: Float64
    p_virus: Float64
    call: NDArray[np.uint8]

    @property
    def balance(self) -> Float64:
        """The p_virus of a record that consists of this chunk; 1/2 if both scores are equal."""
        return (1 + self.p_virus - self.p_other) / 2

    def taken(self, which: Int64 | slice) -> "ChunkScores":
        """Return some of the chunks."""
        return ChunkScores(
            self.frames[which], self.p_other[which], self.p_virus[which], self.call[which]
        )

    @classmethod
    def joined(cls, parts: Sequence["ChunkScores"]) -> "ChunkScores":
        """Return the chunks of all parts, in order."""
        return cls(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.p_other for part in parts]),
            np.concatenate([part.p_virus for part in parts]),
            np.concatenate([part.call for part in parts]),
        )


class RecordScores(NamedTuple):
    """Scores and calls of records, one entry per record.

    Attributes:
        p_virus: (1 + weighted delta) / 2, NaN if no chunk is scored. For a record with one open
            frame this is P(virus) of the frame.
        call: index into `CALL_NAMES`, uint8.
        tier: index into `TIER_NAMES`, uint8; meaningless if the record is unscored.
        weighted_delta: number from -1 to 1; NaN if the record is unscored, as are the next three.
        viral_chunks: share of the scored chunks that are confidently viral.
        other_chunks: share of the scored chunks that are confidently not viral.
        ambiguous_chunks: share of the scored chunks whose two scores are both high.
        rollup: index into `ROLLUP_NAMES`, uint8; meaningless if the record is unscored.
    """

    p_virus: Float64
    call: NDArray[np.uint8]
    tier: NDArray[np.uint8]
    weighted_delta: Float64
    viral_chunks: Float64
    other_chunks: Float64
    ambiguous_chunks: Float64
    rollup: NDArray[np.uint8]


def frame_calls(scores_S2: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the call of each frame: virus if P(virus) is larger than P(other), else other."""
    return (scores_S2[:, 1] > scores_S2[:, 0]).astype(np.uint8)


def score_chunks(chunk_of_frame: Int64, scores_S2: NDArray[np.float32], chunks: int) -> ChunkScores:
    """Take the maxima over the frames of each chunk, and call the chunks.

    Args:
        chunk_of_frame: index of the chunk of each frame.
        scores_S2: P(other) and P(virus) of each frame.
        chunks: number of chunks.
    """
    frames = np.bincount(chunk_of_frame, minlength=chunks)
    maxima_C2 = np.full((chunks, 2), -np.inf)
    np.maximum.at(maxima_C2, chunk_of_frame, scores_S2)
    maxima_C2[frames == 0] = np.nan
    return call_chunks(frames, maxima_C2)


def call_chunks(frames: Int64, maxima_C2: Float64) -> ChunkScores:
    """Call chunks by their maxima.

    A chunk is a virus if max P(virus) >= max P(other), but the tie of a single frame is other.

    Args:
        frames: number of open frames of each chunk.
        maxima_C2: largest P(other) and P(virus) of each chunk, NaN if it has no open frame.
    """
    p_other, p_virus = maxima_C2.T
    is_virus = (p_virus > p_other) | ((p_virus == p_other) & (frames > 1))
    call = np.where(frames == 0, UNSCORED, np.where(is_virus, VIRUS, OTHER))
    return ChunkScores(frames, p_other, p_virus, call.astype(np.uint8))


def score_records(
    record_of_chunk: Int64, chunks: ChunkScores, records: int, threshold: float | Float64
) -> RecordScores:
    """Roll the chunks of each record up into one score, call and tier.

    delta = P(virus) - P(other) of a chunk, weight = sqrt(|delta|); the weighted delta of a record
    is sum(delta * weight) / sum(weight). A record is virus when its p_virus is above `threshold`
    (one for all, or one for each), or equal to it while one of its chunks is virus.
    """
    scored = chunks.call != UNSCORED
    record, s0, s1 = record_of_chunk[scored], chunks.p_other[scored], chunks.p_virus[scored]

    def total(values: NDArray[np.generic]) -> Float64:
        sums = np.bincount(record, weights=values.astype(np.float64), minlength=records)
        return sums.astype(np.float64)

    delta = s1 - s0
    weight = np.sqrt(np.abs(delta))
    weights = total(weight)
    weighted_delta = np.divide(
        total(delta * weight), weights, out=np.zeros(records), where=weights > 0
    )
    count = total(np.ones_like(s0))
    p_virus = np.where(count > 0, (1 + weighted_delta) / 2, np.nan)
    any_virus = total(chunks.call[scored] == VIRUS) > 0
    is_virus = (p_virus > threshold) | ((p_virus == threshold) & any_virus)
    call = np.where(count == 0, UNSCORED, np.where(is_virus, VIRUS, OTHER)).astype(np.uint8)

    confident_virus = total((s1 > _CONFIDENT_ABOVE) & (s0 < _CONFIDENT_BELOW))
    confident_other = total((s0 > _CONFIDENT_ABOVE) & (s1 < _CONFIDENT_BELOW))
    ambiguous = total((s0 > _AMBIGUOUS_ABOVE) & (s1 > _AMBIGUOUS_ABOVE))
    confident = np.where(call == VIRUS, confident_virus, confident_other)
    tier = _tiers(confident, count - ambiguous, count, weighted_delta)
    missing = np.full((3, records), np.nan)
    kinds = np.stack([confident_virus, confident_other, ambiguous])
    viral, other, both = np.divide(kinds, count, out=missing, where=count > 0)
    weighted_delta[count == 0] = np.nan
    rollup = _rollups(weighted_delta)
    return RecordScores(p_virus, call, tier, weighted_delta, viral, other, both, rollup)


def _tiers(
    confident: Float64, unambiguous: Float64, count: Float64, weighted_delta: Float64
) -> NDArray[np.uint8]:
    """Return the tiers of records.

    Args:
        confident: number of chunks that agree confidently with the call of the record.
        unambiguous: number of chunks that are not ambiguous.
        count: number of scored chunks.
        weighted_delta: weighted delta of each record.
    """
    enough = (unambiguous > 0) & (confident >= _LEAST_CONFIDENT_SHARE * unambiguous)
    tier = np.where(enough, np.where(np.abs(weighted_delta) > _HIGH_DELTA, 2, 1), 0)
    demoted: NDArray[np.uint8] = np.maximum(tier - (count < _LEAST_CHUNKS), 0).astype(np.uint8)
    return demoted


def _rollups(weighted_delta: Float64) -> NDArray[np.uint8]:
    """Return the calls of roll-ups downstream, as indices into `ROLLUP_NAMES`."""
    sure = [weighted_delta > _ROLLED_UP_ABOVE, weighted_delta < -_ROLLED_UP_ABOVE]
    return np.select(sure, [1, 2]).astype(np.uint8)
