"""Measures against counts of pairs."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.training.metrics import auroc, recall, threshold_at

#: Few values, so that ties happen.
SCORES = st.lists(
    st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1)), min_size=1, max_size=30
)


def slow_auroc(viral: list[float], other: list[float]) -> float:
    wins = [(v > o) + 0.5 * (v == o) for v, o in product(viral, other)]
    return sum(wins) / len(wins)


@settings(deadline=None)
@given(SCORES, SCORES, st.randoms(use_true_random=False))
def test_auroc_counts_the_pairs_in_order(
    viral: list[float], other: list[float], random: np.random.RandomState
) -> None:
    labelled = [(score, True) for score in viral] + [(score, False) for score in other]
    random.shuffle(labelled)
    scores, is_virus = (np.array(column) for column in zip(*labelled, strict=True))
    assert auroc(scores, is_virus) == pytest.approx(slow_auroc(viral, other), abs=1e-12)


@pytest.mark.parametrize("is_virus", [True, False])
def test_auroc_needs_both_classes(*, is_virus: bool) -> None:
    with pytest.raises(ValueError, match="both viral and other"):
        auroc(np.array([0.1, 0.9]), np.array([is_virus, is_virus]))


@settings(deadline=None)
@given(SCORES, st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75]))
def test_threshold_is_the_lowest_with_few_enough_above(
    negatives: list[float], false_positive_rate: float
) -> None:
    def share_above(threshold: float) -> float:
        return sum(score > threshold for score in negatives) / len(negatives)

    found = threshold_at(false_positive_rate, np.array(negatives))
    assert share_above(found) <= false_positive_rate
    assert share_above(np.nextafter(found, -1)) > false_positive_rate


def test_threshold_by_example() -> None:
    negatives = np.arange(100) / 100
    assert threshold_at(0.0, negatives) == 0.99
    assert threshold_at(0.01, negatives) == 0.98
    assert threshold_at(0.05, negatives) == 0.94
    assert threshold_at(0.05, np.full(100, 0.3)) == 0.3


@pytest.mark.parametrize("percent", range(100))
def test_threshold_lets_through_the_whole_share(percent: int) -> None:
    negatives = np.arange(100) / 100
    assert threshold_at(percent / 100, negatives) == negatives[99 - percent]


def test_threshold_is_without_bound_where_all_may_lie_above() -> None:
    assert threshold_at(1.0, np.arange(100) / 100) == -math.inf


@settings(deadline=None)
@given(SCORES, st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]))
def test_recall_is_the_share_above(scores: list[float], threshold: float) -> None:
    expected = sum(score > threshold for score in scores) / len(scores)
    assert recall(np.array(scores), threshold) == pytest.approx(expected, abs=1e-15)


def test_a_score_at_the_threshold_is_not_recalled() -> None:
    assert recall(np.array([0.5, 0.5, 0.6, 0.4]), 0.5) == 0.25
