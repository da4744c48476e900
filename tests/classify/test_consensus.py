"""Consensus of chunks and roll-up of records against slow references."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.classify import (
    CALL_NAMES,
    TIER_NAMES,
    ChunkScores,
    RecordScores,
    frame_calls,
    score_chunks,
    score_records,
)

#: P(virus) of a frame; few values, so that ties happen.
SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
#: Maxima of a chunk, on both sides of every constant of the roll-up.
MAXIMA = st.sampled_from([0.0, 0.1, 0.29, 0.3, 0.31, 0.5, 0.7, 0.71, 0.8, 0.81, 0.95, 1.0])


class Chunk(NamedTuple):
    """The two maxima of a chunk and its call."""

    p_other: float
    p_virus: float
    call: str


UNSCORED = Chunk(math.nan, math.nan, "unscored")


class Record(NamedTuple):
    """What the roll-up says of a record; no p_virus and no tier where it is unscored."""

    p_virus: float | None
    call: str
    tier: str | None


def slow_chunk(frames: list[float]) -> Chunk:
    """Apply the consensus to the P(virus) of a chunk's frames."""
    if not frames:
        return UNSCORED
    p_other, p_virus = max(1 - p for p in frames), max(frames)
    if len(frames) == 1:
        return Chunk(p_other, p_virus, "virus" if p_virus > p_other else "other")
    return Chunk(p_other, p_virus, "virus" if p_virus >= p_other else "other")


def slow_tier(chunks: list[Chunk], call: str, weighted_delta: float) -> str:
    unambiguous = [c for c in chunks if not (c.p_other > 0.7 and c.p_virus > 0.7)]
    if call == "virus":
        confident = [c for c in chunks if c.p_virus > 0.8 and c.p_other < 0.3]
    else:
        confident = [c for c in chunks if c.p_other > 0.8 and c.p_virus < 0.3]
    tier = "low"
    if unambiguous and len(confident) / len(unambiguous) >= 0.1:
        tier = "high" if abs(weighted_delta) > 0.6 else "moderate"
    if len(chunks) < 5:
        tier = {"high": "moderate", "moderate": "low", "low": "low"}[tier]
    return tier


def slow_record(chunks: list[Chunk], threshold: float) -> Record:
    chunks = [chunk for chunk in chunks if chunk.call != "unscored"]
    if not chunks:
        return Record(None, "unscored", None)
    total, weights = 0.0, 0.0
    for chunk in chunks:
        delta = chunk.p_virus - chunk.p_other
        total += delta * math.sqrt(abs(delta))
        weights += math.sqrt(abs(delta))
    weighted_delta = total / weights if weights else 0.0
    p_virus = (1 + weighted_delta) / 2
    is_tie = p_virus == threshold and any(chunk.call == "virus" for chunk in chunks)
    call = "virus" if p_virus > threshold or is_tie else "other"
    return Record(p_virus, call, slow_tier(chunks, call, weighted_delta))


def scores_of(p_virus: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([(1 - p, p) for p in p_virus], dtype=np.float32).reshape(-1, 2)


def found_chunks(scores: ChunkScores) -> list[Chunk]:
    return [
        UNSCORED if call == CALL_NAMES.index("unscored") else Chunk(other, virus, CALL_NAMES[call])
        for other, virus, call in zip(
            scores.p_other.tolist(), scores.p_virus.tolist(), scores.call.tolist(), strict=True
        )
    ]


def found_records(scores: RecordScores) -> list[Record]:
    records = [
        Record(p_virus, CALL_NAMES[call], TIER_NAMES[tier])
        for p_virus, call, tier in zip(*(column.tolist() for column in scores[:3]), strict=True)
    ]
    return [r if r.call != "unscored" else Record(None, r.call, None) for r in records]


def test_frame_calls() -> None:
    assert [CALL_NAMES[call] for call in frame_calls(scores_of([0.0, 0.25, 0.5, 0.75, 1.0]))] == [
        *("other", "other", "other"),
        *("virus", "virus"),
    ]


@settings(deadline=None)
@given(st.lists(st.lists(SHARES, max_size=4), max_size=8))
def test_chunks_equal_the_slow_consensus(frames: list[list[float]]) -> None:
    chunk_of_frame = np.repeat(np.arange(len(frames)), [len(p) for p in frames])
    scores_S2 = scores_of([p for chunk in frames for p in chunk])
    found = score_chunks(chunk_of_frame, scores_S2, len(frames))
    assert found.frames.tolist() == [len(p) for p in frames]
    assert found_chunks(found) == [slow_chunk(chunk) for chunk in frames]
    unscored = np.array([not chunk for chunk in frames], dtype=bool)
    np.testing.assert_array_equal(np.isnan(found.p_other), unscored)
    np.testing.assert_array_equal(np.isnan(found.p_virus), unscored)


@pytest.mark.parametrize(
    ("frames", "call"),
    [
        ([], "unscored"),
        ([0.5], "other"),
        ([0.5, 0.5], "virus"),
        ([0.25, 0.75], "virus"),
        ([0.25, 0.25], "other"),
        ([0.0, 0.25, 1.0], "virus"),
        ([0.0, 0.75], "other"),
    ],
)
def test_a_tie_is_virus_unless_of_a_single_frame(frames: list[float], call: str) -> None:
    found = score_chunks(np.zeros(len(frames), dtype=np.int64), scores_of(frames), 1)
    assert CALL_NAMES[found.call[0]] == call


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    if draw(st.integers(0, 5)) == 0:
        return UNSCORED
    p_other, p_virus = draw(MAXIMA), draw(MAXIMA)
    tie = draw(st.sampled_from(["virus", "other"]))
    unequal = "virus" if p_virus > p_other else "other"
    return Chunk(p_other, p_virus, tie if p_virus == p_other else unequal)


def chunk_scores(of_chunks: list[Chunk]) -> ChunkScores:
    return ChunkScores(
        np.array([chunk.call != "unscored" for chunk in of_chunks], dtype=np.int64),
        np.array([chunk.p_other for chunk in of_chunks], dtype=np.float64),
        np.array([chunk.p_virus for chunk in of_chunks], dtype=np.float64),
        np.array([CALL_NAMES.index(chunk.call) for chunk in of_chunks], dtype=np.uint8),
    )


def rolled_up(records: list[list[Chunk]], threshold: float) -> list[Record]:
    record_of_chunk = np.repeat(np.arange(len(records)), [len(r) for r in records])
    scores = chunk_scores([chunk for record in records for chunk in record])
    return found_records(score_records(record_of_chunk, scores, len(records), threshold))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(chunks(), max_size=14), max_size=5), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_records_equal_the_slow_roll_up(records: list[list[Chunk]], threshold: float) -> None:
    found = rolled_up(records, threshold)
    for ours, chunks_of_record in zip(found, records, strict=True):
        expected = slow_record(chunks_of_record, threshold)
        assert (ours.call, ours.tier) == (expected.call, expected.tier)
        assert ours.p_virus == pytest.approx(expected.p_virus, abs=1e-12)


CONFIDENT_VIRUS = Chunk(0.05, 0.95, "virus")
CONFIDENT_OTHER = Chunk(0.95, 0.05, "other")
WEAK_VIRUS = Chunk(0.4, 0.6, "virus")
WEAK_OTHER = Chunk(0.6, 0.4, "other")
AMBIGUOUS = Chunk(0.75, 0.9, "virus")
TIE = Chunk(0.5, 0.5, "other")


@pytest.mark.parametrize(
    ("record", "call", "tier"),
    [
        ([CONFIDENT_VIRUS] * 5, "virus", "high"),
        ([CONFIDENT_VIRUS] * 4, "virus", "moderate"),
        ([Chunk(0.198, 0.803, "virus")] * 5, "virus", "high"),
        ([Chunk(0.202, 0.801, "virus")] * 5, "virus", "moderate"),
        ([CONFIDENT_OTHER] * 5, "other", "high"),
        ([CONFIDENT_OTHER] * 4, "other", "moderate"),
        ([CONFIDENT_VIRUS] + [WEAK_VIRUS] * 9, "virus", "moderate"),
        ([CONFIDENT_VIRUS] + [WEAK_VIRUS] * 10, "virus", "low"),
        ([CONFIDENT_OTHER] + [WEAK_OTHER] * 9, "other", "moderate"),
        ([CONFIDENT_OTHER] + [WEAK_OTHER] * 10, "other", "low"),
        ([CONFIDENT_VIRUS] + [WEAK_VIRUS] * 9 + [AMBIGUOUS] * 20, "virus", "moderate"),
        ([CONFIDENT_VIRUS] + [WEAK_VIRUS] * 3 + [UNSCORED] * 9, "virus", "low"),
        ([AMBIGUOUS] * 9, "virus", "low"),
        ([TIE] * 9, "other", "low"),
        ([TIE] * 9 + [Chunk(0.5, 0.5, "virus")], "virus", "low"),
        ([CONFIDENT_VIRUS, CONFIDENT_OTHER], "virus", "low"),
        ([UNSCORED] * 9, "unscored", None),
        ([], "unscored", None),
    ],
)
def test_tiers_by_example(record: list[Chunk], call: str, tier: str | None) -> None:
    (found,) = rolled_up([record], 0.5)
    assert (found.call, found.tier) == (call, tier)


def test_weighted_delta_by_hand() -> None:
    (found,) = rolled_up([[Chunk(0.0, 0.64, "virus"), Chunk(0.36, 0.0, "other"), UNSCORED]], 0.5)
    weighted_delta = (0.64 * 0.8 - 0.36 * 0.6) / (0.8 + 0.6)
    assert found.p_virus == pytest.approx((1 + weighted_delta) / 2, abs=1e-15)


@settings(deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=20))
def test_a_record_of_one_frame_has_the_score_and_call_of_the_frame(logits: list[float]) -> None:
    rows = torch.tensor([(0.0, logit) for logit in logits])
    scores_S2 = torch.softmax(rows, dim=1).numpy()
    each = np.arange(len(logits))
    of_chunks = score_chunks(each, scores_S2, len(logits))
    found = score_records(each, of_chunks, len(logits), 0.5)
    np.testing.assert_allclose(found.p_virus, scores_S2[:, 1], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(of_chunks.call, frame_calls(scores_S2))
    np.testing.assert_array_equal(found.call, of_chunks.call)
