"""Viral stretches of made series of scores."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from virnucpro.classify.segments import LEAST_CHUNKS, viral_segments

Float64 = NDArray[np.float64]


def series(*parts: tuple[int, float], noise: float = 0.0, seed: int = 1) -> Float64:
    """Return scores whose log odds have a mean for each part of so many chunks."""
    means = np.concatenate([np.full(chunks, mean) for chunks, mean in parts])
    odds = means + noise * np.random.default_rng(seed).normal(size=len(means))
    return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float64)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(40, -2), (30, 2), (50, -2)], [(40, 70)]),
        ([(40, -2), (5, 2.5), (50, -2)], [(40, 45)]),
        ([(30, 2), (40, -2)], [(0, 30)]),
        ([(40, -2), (30, 2)], [(40, 70)]),
        ([(40, -2), (20, 1), (20, 3), (40, -2)], [(40, 80)]),
        ([(40, -2), (20, 2), (20, -2), (20, 2), (9, -2)], [(40, 60), (80, 100)]),
        ([(40, -2), (4, 3), (50, -2)], []),
        ([(40, -3), (40, -1), (40, -3)], []),
        ([(60, -2)], []),
        ([(60, 2)], [(0, 60)]),
        ([(60, 0)], []),
        ([(LEAST_CHUNKS, 2)], [(0, LEAST_CHUNKS)]),
        ([(LEAST_CHUNKS - 1, 2)], []),
        ([], []),
    ],
)
def test_planted_stretches(parts: list[tuple[int, float]], expected: list[tuple[int, int]]) -> None:
    assert viral_segments(series(*parts) if parts else np.empty(0)) == expected


@pytest.mark.parametrize("seed", range(10))
def test_a_stretch_in_noise_is_found_to_a_few_chunks(seed: int) -> None:
    scores = series((200, -1.3), (60, 1.3), (200, -1.3), noise=1.0, seed=seed)
    ((start, end),) = viral_segments(scores)
    assert abs(start - 200) <= 4
    assert abs(end - 260) <= 4


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_has_no_stretch(seed: int) -> None:
    assert viral_segments(series((1500, -1.3), noise=1.4, seed=seed)) == []


def test_scores_of_0_and_1_count_as_far_as_others() -> None:
    scores = np.concatenate([np.zeros(20), np.ones(10), np.zeros(20)])
    assert viral_segments(scores) == [(20, 30)]


@pytest.mark.parametrize("first", [500, 1970, 1999, 2000, 2997, 3500])
def test_long_records_are_cut_as_short_ones(first: int) -> None:
    scores = series((first, -2), (60, 2), (5000 - first, -2), noise=0.5)
    assert viral_segments(scores) == [(first, first + 60)]


def test_a_stretch_longer_than_what_is_looked_at_at_once_is_one() -> None:
    assert viral_segments(series((100, -2), (7000, 2), (100, -2))) == [(100, 7100)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), max_size=80))
def test_stretches_are_apart_in_order_and_long_enough(scores: list[float]) -> None:
    found = viral_segments(np.array(scores, dtype=np.float64))
    assert all(s.start >= 0 and s.start + 5 <= s.end <= len(scores) for s in found)
    assert all(a.end < b.start for a, b in pairwise(found))
