"""Measures compared to counts of pairs and of false positives."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.training.metrics import auroc, threshold_at

#: Few values, so that ties happen.
SCORES = st.lists(
    st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1)), min_size=1, max_size=30
)


def slow_auroc(viral: list[float], other: list[float]) -> float:
    wins = [(v > o) + 0.5 * (v == o) for v, o in product(viral, other)]
    return sum(wins) / len(wins)


@settings(deadline=None, max_examples=50)
@given(SCORES, SCORES, st.randoms(use_true_random=False))
def test_auroc_counts_the_pairs_in_order(
    viral: list[float], other: list[float], random: np.random.RandomState
) -> None:
    labelled = [(score, True) for score in viral] + [(score, False) for score in other]
    random.shuffle(labelled)
    scores, is_virus = (np.array(column) for column in zip(*labelled, strict=True))
    assert auroc(scores, is_virus) == slow_auroc(viral, other)


def threshold_of(rate: float, viral: list[float], other: list[float]) -> float:
    scores = np.array([*viral, *other])
    return threshold_at(rate, scores, np.arange(len(scores)) < len(viral))


@settings(deadline=None, max_examples=50)
@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75]))
def test_threshold_is_the_lowest_score_with_few_enough_false_positives(
    viral: list[float], other: list[float], rate: float
) -> None:
    def false_positives(threshold: float) -> float:
        return sum(score >= threshold for score in other) / len(other)

    found = threshold_of(rate, viral, other)
    assert false_positives(found) <= rate
    assert all(false_positives(x) > rate for x in [*viral, *other] if x < found)


@pytest.mark.parametrize("percent", range(0, 101, 7))
def test_threshold_lets_through_the_whole_share(percent: int) -> None:
    others = (np.arange(100) / 100).tolist()
    assert threshold_of(percent / 100, [2.0], others) == [*others, 2.0][100 - percent]


def test_no_score_keeps_to_the_rate() -> None:
    assert threshold_of(0.05, [0.3], [0.3, 0.3]) == math.inf
