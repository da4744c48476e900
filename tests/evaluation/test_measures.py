"""Measures against numbers worked out by hand."""

import math

import numpy as np
import pytest

from made_labels import random_records, records_of
from virnucpro.evaluation.bootstrap import intervals, weights
from virnucpro.evaluation.matched_records import Records, parts_of
from virnucpro.evaluation.measures import measure
from virnucpro.evaluation.reliability import calibration_bins, calibration_error, reliability


def measured(records: Records) -> dict[str, dict[str, float]]:
    """Return measures by `view group`."""
    return {
        f"{part.view} {group}": found
        for part in parts_of(records)
        for group, found in measure(part).items()
    }


def test_five_records_by_hand() -> None:
    # from the top: virus 0.9, other 0.8, virus 0.6, other 0.3; an unscored virus is last
    found = measured(records_of([0.9, 0.8, 0.6, 0.3, None], [1, 0, 1, 0, 1]))
    everything, scored = found["all overall"], found["scored overall"]
    assert everything["auroc"] == pytest.approx((2 + 1 + 0) / 6)
    assert scored["auroc"] == pytest.approx((2 + 1) / 4)
    assert everything["auprc"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert scored["auprc"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert everything["recall_at_1_percent"] == pytest.approx(1 / 3)
    assert scored["recall_at_5_percent"] == pytest.approx(1 / 2)
    # above one half: 0.9 virus, 0.8 other, 0.6 virus
    assert everything["precision_at_half"] == pytest.approx(2 / 3)
    assert everything["recall_at_half"] == pytest.approx(2 / 3)
    assert everything["f1_at_half"] == pytest.approx(2 / 3)
    assert everything["false_positive_rate_at_half"] == pytest.approx(1 / 2)
    tp, fp, fn, tn = 2, 1, 1, 1
    mcc = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert everything["mcc_at_half"] == pytest.approx(mcc)
    assert everything["unscored"] == pytest.approx(1 / 5)
    assert scored["brier"] == pytest.approx((0.1**2 + 0.8**2 + 0.4**2 + 0.3**2) / 4)
    # each of the four is alone in its bin
    assert scored["ece"] == pytest.approx((0.1 + 0.8 + 0.4 + 0.3) / 4)
    assert "ece" not in everything
    assert "unscored" not in scored


def test_equal_scores_count_half() -> None:
    assert measured(records_of([0.5, 0.5], [1, 0]))["all overall"]["auroc"] == 0.5
    found = measured(records_of([None, None, 0.1], [1, 0, 0]))["all overall"]
    assert found["auroc"] == pytest.approx(0.25)


def test_recall_at_few_false_positives_allows_exactly_so_many() -> None:
    # one of the 20 others may lie above at 5 %, none at 1 %
    others = [0.95, 0.75, *([0.1] * 18)]
    records = records_of([0.99, 0.9, 0.8, 0.7, *others], [1] * 4 + [0] * 20)
    found = measured(records)["all overall"]
    assert found["recall_at_1_percent"] == pytest.approx(1 / 4)
    assert found["recall_at_5_percent"] == pytest.approx(3 / 4)


def test_classes_at_the_thresholds_of_all() -> None:
    others = [0.95, 0.75, *([0.1] * 18)]
    classes = ["va", "va", "vb", "vb", "oa", *(["ob"] * 19)]
    records = records_of([0.99, 0.9, 0.8, 0.7, *others], [1] * 4 + [0] * 20, classes=classes)
    found = measured(records)
    assert found["all class va"]["recall_at_1_percent"] == 0.5
    assert found["all class vb"]["recall_at_5_percent"] == 0.5
    assert found["all class vb"]["recall_at_half"] == 1
    assert found["all class va"]["auroc"] == pytest.approx((20 + 19) / 40)
    assert found["all class oa"]["false_positive_rate_at_5_percent"] == 1
    assert found["all class ob"]["false_positive_rate_at_5_percent"] == 0
    assert found["all class ob"]["false_positive_rate_at_half"] == pytest.approx(1 / 19)
    assert found["all class oa"]["auroc"] == pytest.approx(1 / 4)


def test_a_class_with_both_labels_is_two() -> None:
    found = measured(records_of([0.9, 0.1], [1, 0], classes=["soil", "soil"]))
    assert {"all class soil, virus", "all class soil, other"} <= found.keys()


def test_lengths_are_binned_and_empty_bins_left_out() -> None:
    records = records_of(
        [0.9, 0.1, 0.2, 0.8, 0.5], [1, 0, 1, 0, 0], lengths=[199, 100, 200, 399, 1500]
    )
    found = measured(records)
    assert [k for k in found if "all length" in k] == [
        "all length <200", "all length 200-399", "all length >=1500",
    ]  # fmt: skip
    assert found["all length <200"]["auroc"] == 1
    assert found["all length 200-399"]["auroc"] == 0
    assert math.isnan(found["all length >=1500"]["auroc"])
    assert found["all length >=1500"]["false_positive_rate_at_half"] == 0


def test_calibration_by_hand() -> None:
    probability = np.array([0.01, 0.03, 0.99, 1.0, 0.5])
    is_virus = np.array([False, True, True, True, True])
    bins = calibration_bins(probability)
    assert bins["ece"].tolist() == [0, 0, 14, 14, 7]
    # bins {0.01, 0.03}: |1 - 0.04|; {0.99, 1}: |2 - 1.99|; {0.5}: |1 - 0.5|
    expected = (0.96 + 0.01 + 0.5) / 5
    assert calibration_error(probability, is_virus, bins["ece"]) == pytest.approx(expected)
    rows = reliability(np.append(probability, np.nan), np.append(is_virus, True))
    assert [(b.records, b.virus) for b in rows] == [(2, 1), (1, 1), (2, 2)]
    assert rows[0].mean_probability == pytest.approx(0.02)


def test_bins_of_equal_number() -> None:
    bins = calibration_bins(np.linspace(0, 1, 150) ** 3)["ece_equal_mass"]
    assert np.bincount(bins).tolist() == [10] * 15
    assert np.ptp(calibration_bins(np.full(40, 0.3))["ece_equal_mass"]) == 0


def test_sources_are_drawn_whole_and_labels_apart() -> None:
    records = random_records(200)
    drawn = np.concatenate(list(weights(records, 50, seed=3)))
    assert drawn.shape == (50, 200)
    for source in np.unique(records.source):
        of_source = drawn[:, records.source == source]
        assert (of_source == of_source[:, :1]).all()
    for label in (True, False):
        _, first = np.unique(records.source[records.is_virus == label], return_index=True)
        assert (drawn[:, records.is_virus == label][:, first].sum(axis=1) == len(first)).all()


def test_intervals_hold_the_value_and_are_wider_with_fewer_sources() -> None:
    records = random_records(400)
    parts = list(parts_of(records))
    found = intervals(records, parts, 300, seed=1)
    for part, bounds in zip(parts, found, strict=True):
        for group, measures in measure(part).items():
            for name, value in measures.items():
                low, high = bounds[group][name]
                if name not in ("ece", "ece_equal_mass") and not math.isnan(value):
                    assert low - 1e-9 <= value <= high + 1e-9, (part.view, group, name)
    alone = records_of([0.9, 0.2, 0.6, 0.1] * 25, [1, 1, 0, 0] * 25)
    together = records_of(
        [0.9, 0.2, 0.6, 0.1] * 25, [1, 1, 0, 0] * 25, [f"s{i}" for i in (0, 1, 2, 3)] * 25
    )
    widths = []
    for records in (alone, together):
        part = next(parts_of(records))
        low, high = intervals(records, [part], 300, seed=1)[0]["overall"]["auroc"]
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]
