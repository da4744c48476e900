"""Fitted lines: they rise, are right on records they have not seen, and need enough of them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virnucpro.bundles.manifest import CalibrationLine
from virnucpro.calibration.fit import (
    METHODS,
    Line,
    _best_method,
    _folds,
    _pooled,
    calibration_error,
    class_weights,
    fit,
    log_loss,
)
from virnucpro.classify.probability import Bool, Float64, Int64

#: Few values, so that there are ties.
SCORES = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1).map(lambda x: round(x, 6)))
LABELLED = st.lists(st.tuples(SCORES, st.booleans()), min_size=2, max_size=200).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=150)
@given(LABELLED)
@example([(0.0, True)] * 7 + [(0.25, False)] + [(0.5, True)] * 2)  # steps a rounding apart
def test_a_line_rises_from_0_to_1_whatever_the_data(
    method: str, rows: list[tuple[float, bool]]
) -> None:
    line = METHODS[method](np.array([s for s, _ in rows]), np.array([y for _, y in rows]))
    scores, shares = line.scores, line.probabilities
    CalibrationLine(chunks=1, scores=tuple(scores), probabilities=tuple(shares))  # refuses others
    assert 2 <= len(scores) <= 200
    assert 0 < shares[0] < shares[-1] < 1
    ranked = line.at(np.linspace(0, 1, 1001))
    assert (np.diff(ranked) > 0).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=25))
def test_pooling_is_isotonic_regression(steps: list[tuple[int, int]]) -> None:
    """The fit at i is max over a <= i of min over b >= i of the share in a..b (Barlow 1972)."""
    virus = np.array([v for v, _ in steps], float)
    total = virus + np.array([n for _, n in steps])
    size = len(steps)

    def share(a: int, b: int) -> float:
        return float(virus[a : b + 1].sum() / total[a : b + 1].sum())

    expected = [
        max(min(share(a, b) for b in range(i, size)) for a in range(i + 1)) for i in range(size)
    ]
    columns = np.column_stack([virus, total - virus, np.arange(size) * total])
    pooled = _pooled(columns, np.zeros(3))
    found = pooled[:, 0] / pooled[:, :2].sum(axis=1)
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(found, np.unique(np.round(expected, 12)), rtol=1e-9)
    np.testing.assert_allclose(pooled.sum(axis=0), columns.sum(axis=0))


def softened(log_odds: Float64) -> Float64:
    """Return scores that are too sure: a logistic curve makes them right."""
    return 1 / (1 + np.exp(-3 * log_odds - 1))


def bent(log_odds: Float64) -> Float64:
    """Return scores that rise in jumps, as no logistic curve does."""
    return np.clip(np.floor(log_odds + 6) / 12 + (log_odds % 1) / 1000, 0, 1)


def made(
    distortion: Callable[[Float64], Float64], records: int, seed: int
) -> tuple[Float64, Bool, Int64]:
    """Return scores, labels and sources; before the distortion they are calibrated log odds."""
    random = np.random.default_rng(seed)
    is_virus = random.random(records) < 0.3
    log_odds = random.normal(np.where(is_virus, 1, -1), np.sqrt(2))
    scores = np.round(distortion(log_odds), 6)
    return scores, is_virus, random.integers(0, 200, records) * 2 + is_virus


@pytest.mark.parametrize("distortion", [softened, bent])
def test_probabilities_of_records_not_seen_are_right(
    distortion: Callable[[Float64], Float64],
) -> None:
    scores, is_virus, sources = made(distortion, 8000, 1)
    ones = np.ones(len(scores), np.int64)
    found = fit(scores, ones, 500 * ones, is_virus, sources)
    assert [line.chunks for line in found.lines] == [1]
    scores, is_virus, _ = made(distortion, 40_000, 2)
    weights = class_weights(is_virus)
    before = calibration_error(scores, is_virus, weights)
    after = calibration_error(found.lines[0].line.at(scores), is_virus, weights)
    assert after < 0.02 < before
    assert found.metrics["ece"] < found.metrics["ece_before"]
    assert found.metrics["log_loss"] < found.metrics["log_loss_before"]


@pytest.mark.parametrize("method", METHODS)
def test_both_methods_are_near_on_many_records(method: str) -> None:
    scores, is_virus, _ = made(softened, 40_000, 3)
    line = METHODS[method](scores, is_virus)
    scores, is_virus, _ = made(softened, 40_000, 4)
    weights = class_weights(is_virus)
    assert calibration_error(line.at(scores), is_virus, weights) < 0.02


def test_the_curve_is_taken_where_records_are_few_and_it_fits() -> None:
    assert _best_method(*made(bent, 8000, 1))[0] == "isotonic"
    methods = [_best_method(*made(softened, 300, seed))[0] for seed in range(8)]
    assert set(methods) == {"isotonic", "logistic"}


def test_losses_are_of_sources_not_seen() -> None:
    """Scores tell sources apart, not viruses: what was learned of one source misleads in others."""
    random = np.random.default_rng(5)
    sources = np.repeat(np.arange(40), 50)
    is_virus = sources % 2 == 0
    scores = np.round(random.random(40)[sources] + random.random(2000) / 1000, 6) / 1.001
    _, held_out = _best_method(scores, is_virus, sources)
    losses = []
    for fitted in METHODS.values():
        seen = fitted(scores, is_virus).at(scores)
        losses.append(log_loss(seen, is_virus, class_weights(is_virus)))
    assert log_loss(held_out, is_virus, class_weights(is_virus)) > min(losses)


@pytest.mark.parametrize("is_mixed", [False, True])
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=4, max_size=60).filter(
        lambda rows: all(len({s for s, y in rows if y == label}) >= 2 for label in (True, False))
    )
)
def test_a_source_is_in_one_fold_and_every_fold_leaves_both_classes(
    rows: list[tuple[int, bool]], *, is_mixed: bool
) -> None:
    """What of a source has one label is in one fold; where no source has both, so is the source."""
    is_virus = np.array([y for _, y in rows])
    sources = np.array([s if is_mixed else 2 * s + y for s, y in rows])
    fold, units = _folds(is_virus, sources), 2 * sources + is_virus
    assert all(len(np.unique(fold[units == u])) == 1 for u in np.unique(units))
    for k in range(fold.max() + 1):
        assert len(np.unique(is_virus[fold != k])) == 2


def labelled(numbers: dict[int, int]) -> tuple[Float64, Int64, Bool, Int64]:
    """Return so many viruses, and as many others, of each number: scores, numbers and the rest."""
    random = np.random.default_rng(6)
    chunks = np.repeat(list(numbers), [2 * n for n in numbers.values()])
    is_virus = np.arange(len(chunks)) % 2 == 0
    scores = np.clip(random.normal(0.4 + 0.2 * is_virus, 0.2), 0, 1)
    return scores, chunks, is_virus, np.arange(len(chunks)) // 3 * 2 + is_virus


@pytest.mark.parametrize(
    ("numbers", "lines"),
    [
        ({1: 200}, [1]),
        ({1: 100, 2: 100, 3: 60, 4: 60, 5: 60, 30: 60}, [1, 2, 3, 5, 9]),
        ({1: 100, 2: 30, 3: 10, 6: 30, 12: 30}, [1, 5]),
        ({1: 10, 2: 10, 4: 100}, [1]),
        ({3: 100, 5: 100}, [1, 5]),
        ({1: 30, 9: 30}, [1]),
    ],
)
def test_numbers_of_chunks_with_few_records_share_a_line(
    numbers: dict[int, int], lines: list[int]
) -> None:
    scores, chunks, is_virus, sources = labelled(numbers)
    found = fit(scores, chunks, 500 * chunks, is_virus, sources)
    assert [line.chunks for line in found.lines] == lines


@pytest.mark.parametrize(
    ("numbers", "lines"),
    [
        ({150: 60, 300: 60, 500: 60}, [(1, 0), (1, 225), (1, 400)]),
        ({500: 60}, [(1, 0)]),
        ({150: 30, 300: 60, 500: 60}, [(1, 0), (1, 400)]),
        ({150: 60, 500: 30}, [(1, 0)]),
    ],
)
def test_reads_of_lengths_with_few_records_share_a_line(
    numbers: dict[int, int], lines: list[tuple[int, int]]
) -> None:
    scores, bases, is_virus, sources = labelled(numbers)
    found = fit(scores, np.ones_like(bases), bases, is_virus, sources)
    assert [(line.chunks, line.bases) for line in found.lines] == lines


@pytest.mark.parametrize(
    ("kinds", "lines"),
    [
        ([(1, 500), (2, 150), (2, 500)], [(1, 0), (2, 0), (2, 400)]),
        ([(1, 150), (1, 500), (2, 500)], [(1, 0), (1, 400), (2, 400)]),
        ([(2, 150), (2, 300), (9, 500)], [(1, 0), (2, 225), (9, 400)]),
    ],
)
def test_pairs_and_contigs_have_lines_of_their_own(
    kinds: list[tuple[int, int]], lines: list[tuple[int, int]]
) -> None:
    scores, kind, is_virus, sources = labelled(dict.fromkeys(range(len(kinds)), 60))
    chunks, bases = np.array(kinds)[kind].T
    found = fit(scores, chunks, bases, is_virus, sources)
    assert [(line.chunks, line.bases) for line in found.lines] == lines


def test_a_score_of_long_reads_means_more_than_that_of_short_ones() -> None:
    random = np.random.default_rng(8)
    bases = random.choice([150, 500], 20_000)
    is_virus = random.random(20_000) < 0.5
    scores = random.normal(np.where(is_virus, 0.55, 0.45), np.where(bases == 500, 0.05, 0.1))
    ones, sources = np.ones_like(bases), np.arange(20_000) * 2 + is_virus
    found = fit(np.clip(scores, 0, 1), ones, bases, is_virus, sources)
    at_055 = [line.line.at(np.array([0.55]))[0] for line in found.lines]
    assert at_055 == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-2))], abs=0.03)


def test_chunks_that_agree_say_more_than_one() -> None:
    """The mean of n noisy chunks means the more the larger n is."""
    random = np.random.default_rng(7)
    chunks = random.choice([1, 6], 20_000)
    is_virus = random.random(20_000) < 0.5
    scores = random.normal(np.where(is_virus, 0.55, 0.45), 0.1 / np.sqrt(chunks))
    sources = np.arange(20_000) * 2 + is_virus
    found = fit(np.clip(scores, 0, 1), chunks, 500 * chunks, is_virus, sources)
    at_06 = [line.line.at(np.array([0.6]))[0] for line in found.lines]
    assert at_06 == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-6))], abs=0.03)
    assert found.metrics["ece"] < 0.02


@pytest.mark.parametrize(
    ("viruses", "others", "sources"), [(49, 200, 20), (200, 49, 20), (100, 100, 1), (0, 100, 20)]
)
def test_too_few_records_are_refused(viruses: int, others: int, sources: int) -> None:
    is_virus = np.arange(viruses + others) < viruses
    of: Int64 = np.arange(len(is_virus)) % sources
    scores = np.linspace(0, 1, len(is_virus))
    ones = np.ones(len(scores), np.int64)
    with pytest.raises(ValueError, match=f"{viruses} viral and {others} other scored records"):
        fit(scores, ones, 500 * ones, is_virus, of)


def test_half_a_record_keeps_a_perfect_score_from_certainty() -> None:
    is_virus = np.arange(100) >= 50
    line: Line = METHODS["isotonic"](np.where(is_virus, 0.9, 0.1), is_virus)
    assert line.at(np.array([0.1, 0.9])) == pytest.approx([0.5 / 51, 50.5 / 51])
