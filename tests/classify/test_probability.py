"""From scores to probabilities: other shares of viruses, their estimate, false discoveries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.bundles.manifest import Calibration, CalibrationLine
from virnucpro.classify.probability import (
    at_prevalence,
    estimate_prevalence,
    false_discovery_rates,
    last_reached,
    least_score,
    line_numbers,
    probabilities,
)

SHARES = st.floats(0.001, 0.999)
CALIBRATION = Calibration(
    lines=(
        CalibrationLine(chunks=1, scores=(0, 0.5, 1), probabilities=(0.1, 0.3, 0.8)),
        CalibrationLine(chunks=3, scores=(0, 1), probabilities=(0.01, 0.99)),
        CalibrationLine(chunks=3, bases=225, scores=(0, 1), probabilities=(0.02, 0.99)),
    ),
    prevalence=0.5, chunk_length=500, frames="open", data="made by hand", metrics={},
)  # fmt: skip


def test_a_line_is_chosen_by_scored_chunks_and_then_by_bases_of_a_chunk() -> None:
    chunks = np.array([0, 1, 2, 3, 3, 3, 4, 100, 1_000_000])
    bases = np.array([0, 1, 10**12, 1, 224, 225, 1, 224, 2**62])
    assert line_numbers(CALIBRATION, chunks, bases).tolist() == [0, 0, 0, 1, 1, 2, 1, 1, 2]


def test_two_short_mates_are_not_taken_for_a_long_read() -> None:
    """Curves for one chunk of three lengths, and for contigs, with long chunks only."""
    firsts = [(1, 0), (1, 225), (1, 400), (2, 400)]
    chunks, bases = np.array([1, 2, 2, 2, 9, 9]), np.array([500, 150, 300, 500, 150, 500])
    assert last_reached(firsts, chunks, bases).tolist() == [2, 0, 1, 3, 0, 3]


def test_probabilities_are_read_off_the_line() -> None:
    line, scores = np.array([0, 0, 0, 1, 1]), np.array([0, 0.25, 1, 0.5, 1])
    expected = [0.1, 0.2, 0.8, 0.5, 0.99]
    assert probabilities(CALIBRATION, line, scores) == pytest.approx(expected)


@given(st.lists(SHARES, min_size=1, max_size=30), SHARES, SHARES)
def test_another_prevalence_multiplies_the_odds(
    found: list[float], before: float, after: float
) -> None:
    probability = np.array(found)
    shifted = at_prevalence(probability, before, after)
    factor = after / (1 - after) / (before / (1 - before))
    odds = probability / (1 - probability) * factor
    np.testing.assert_allclose(shifted, odds / (1 + odds), rtol=1e-12)
    back = at_prevalence(shifted, after, before)  # 1 - shifted has an error of 1e-16
    np.testing.assert_allclose(back, probability, atol=1e-15 / (1 - shifted).min())
    assert (np.diff(shifted[np.argsort(probability)]) > -1e-15).all()


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 2), SHARES,
    st.floats(0.05, 0.95),
)  # fmt: skip
def test_no_record_more_likely_viral_lies_under_the_least_score(
    scores: list[float], line: int, prevalence: float, wanted: float
) -> None:
    least = least_score(CALIBRATION, prevalence, wanted)
    chances = probabilities(CALIBRATION, np.full(len(scores), line), np.array(scores))
    exceeds = at_prevalence(chances, CALIBRATION.prevalence, prevalence) > wanted
    assert (np.array(scores)[exceeds] > least).all()


def test_the_least_score_is_close_to_where_the_first_line_reaches_it() -> None:
    assert least_score(CALIBRATION, 0.5, 0.5) == pytest.approx(0.4898, abs=0.004)
    assert least_score(CALIBRATION, 1e-6, 0.5) == 1


def sample(records: int, prevalence: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return P(virus) at a share of one half, and what each record is.

    Log odds are normal around +-2 with variance 4: then the likelihood ratio of x is exp(x).
    """
    random = np.random.default_rng(seed)
    is_virus = random.random(records) < prevalence
    log_odds = random.normal(np.where(is_virus, 2, -2), 2)
    return 1 / (1 + np.exp(-log_odds)), is_virus


@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_the_prevalence_of_a_sample_is_recovered(prevalence: float) -> None:
    probability, is_virus = sample(20_000, prevalence, 1)
    found = estimate_prevalence(probability, np.ones(len(probability), np.int64), 0.5)
    assert found == pytest.approx(prevalence, abs=0.02)
    shifted = at_prevalence(probability, 0.5, found)
    assert shifted.sum() == pytest.approx(is_virus.sum(), rel=0.1)


@pytest.mark.parametrize("fitted", [0.1, 0.5, 0.8])
def test_the_prevalence_does_not_depend_on_that_of_the_fit(fitted: float) -> None:
    probability = at_prevalence(sample(5_000, 0.2, 2)[0], 0.5, fitted)
    counts = np.ones(len(probability), np.int64)
    found = estimate_prevalence(probability, counts, fitted)
    assert found == pytest.approx(0.2, abs=0.02)


def test_a_sample_without_viruses_has_nearly_none() -> None:
    probability, _ = sample(5_000, 0, 3)
    assert estimate_prevalence(probability, np.ones(5_000, np.int64), 0.5) < 0.005


@pytest.mark.parametrize("records", [1, 5, 1000])
def test_a_few_records_alone_say_little(records: int) -> None:
    counts = np.array([records])
    for probability, viruses in ((1e-9, 0), (1 - 1e-9, records)):
        found = estimate_prevalence(np.array([probability]), counts, 0.5)
        assert found == pytest.approx((2 + viruses) / (4 + records), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(1, 50)), min_size=2, max_size=20),
    st.floats(0.05, 0.95),
)
def test_the_prevalence_is_where_expectation_maximisation_goes(
    kinds: list[tuple[float, int]], before: float
) -> None:
    probability, counts = np.array([p for p, _ in kinds]), np.array([n for _, n in kinds])
    found = estimate_prevalence(probability, counts, before)
    viruses = 2 + (at_prevalence(probability, before, found) * counts).sum()
    again = float(viruses / (4 + counts.sum()))
    assert again == pytest.approx(found, abs=2e-6)


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 9)), min_size=1, max_size=30))
def test_false_discovery_rates_against_each_record(kinds: list[tuple[int, int]]) -> None:
    probability = np.array([percent / 100 for percent, _ in kinds])
    counts = np.array([count for _, count in kinds])
    found = false_discovery_rates(probability, counts)
    records = np.repeat(probability, counts)
    for p, rate in zip(probability, found, strict=True):
        above = records[records >= p]
        assert rate == pytest.approx((1 - above).mean())
