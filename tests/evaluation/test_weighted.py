"""Measures of weighted records against scikit-learn, and what changes nothing."""

from random import Random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
)

from made_labels import random_records, records_of
from virnucpro.evaluation.bootstrap import weights
from virnucpro.evaluation.matched_records import Records, parts_of
from virnucpro.evaluation.measures import measure
from virnucpro.evaluation.weighted import WeightedPart

#: Score, in fifths so that some are equal, or none; label; how often it counts.
ROWS = st.lists(
    st.tuples(st.none() | st.integers(0, 5), st.booleans(), st.integers(0, 3)),
    min_size=2,
    max_size=30,
).filter(lambda rows: {y for _, y, n in rows if n} == {True, False})


def records_from(rows: list[tuple[int | None, bool, int]]) -> Records:
    scores = [None if s is None else s / 5 for s, _, _ in rows]
    return records_of(scores, [int(y) for _, y, _ in rows])


@settings(deadline=None, max_examples=100)
@given(ROWS)
def test_weighted_measures_are_those_of_scikit_learn(
    rows: list[tuple[int | None, bool, int]],
) -> None:
    records = records_from(rows)
    weight = np.array([float(n) for _, _, n in rows])
    found = WeightedPart(next(parts_of(records))).measure(weight[None])["overall"]
    y, rank = records.is_virus, records.rank
    called = records.calls["half"]
    assert found["auroc"][0] == pytest.approx(roc_auc_score(y, rank, sample_weight=weight))
    assert found["auprc"][0] == pytest.approx(
        average_precision_score(y, rank, sample_weight=weight)
    )
    mcc = matthews_corrcoef(y, called, sample_weight=weight)
    assert found["mcc_at_half"][0] == pytest.approx(mcc)
    f1 = f1_score(y, called, sample_weight=weight, zero_division=np.nan)
    assert found["f1_at_half"][0] == pytest.approx(f1, nan_ok=True)


@settings(deadline=None, max_examples=50)
@given(ROWS)
def test_a_record_that_counts_twice_is_two_records(
    rows: list[tuple[int | None, bool, int]],
) -> None:
    part = next(parts_of(records_from(rows)))
    weighted = WeightedPart(part).measure(np.array([[float(n) for _, _, n in rows]]))["overall"]
    repeated = records_from([row for row in rows for _ in range(row[2])])
    for name, value in measure(next(parts_of(repeated)))["overall"].items():
        assert weighted[name][0] == pytest.approx(value, nan_ok=True), name


def test_once_each_gives_the_measures_themselves() -> None:
    for part in parts_of(random_records(300)):
        found = WeightedPart(part).measure(np.ones((2, len(part.rows))))
        expected = measure(part)
        assert found.keys() == expected.keys()
        for group, measures in expected.items():
            assert found[group].keys() == measures.keys()
            for name, value in measures.items():
                assert found[group][name] == pytest.approx(value, nan_ok=True), (group, name)


def test_brier_of_resamples() -> None:
    records = random_records(300)
    part = next(p for p in parts_of(records) if p.view == "scored")
    drawn = next(weights(records, 5, seed=2))[:, part.rows]
    found = WeightedPart(part).measure(drawn)["overall"]["brier"]
    expected = [
        brier_score_loss(part.records.is_virus, part.records.probability, sample_weight=row)
        for row in drawn
    ]
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(ROWS, st.randoms())
def test_order_and_monotone_transforms_change_nothing(
    rows: list[tuple[int | None, bool, int]], random: Random
) -> None:
    before = measure(next(parts_of(records_from(rows))))["overall"]
    shuffled = random.sample(rows, len(rows))
    after = measure(next(parts_of(records_from(shuffled))))["overall"]
    assert after == pytest.approx(before, nan_ok=True)
    bent = records_of(
        [None if s is None else (s / 5) ** 3 / 2 for s, _, _ in rows], [int(y) for _, y, _ in rows]
    )
    for name in ("auroc", "auprc", "recall_at_1_percent", "recall_at_5_percent"):
        assert measure(next(parts_of(bent)))["overall"][name] == pytest.approx(before[name])
