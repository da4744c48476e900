"""The measures of records, as scikit-learn defines them.

An undefined measure, such as the AUROC without viral records, is NaN.
"""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from virnucpro.evaluation.matched_records import (
    FALSE_POSITIVE_RATES,
    ROUNDING,
    Mask,
    Part,
    Records,
)
from virnucpro.evaluation.reliability import calibration_bins, calibration_error

Measures = dict[str, float]


def measure(part: Part) -> dict[str, Measures]:
    """Return the measures of a part as a whole and of each of its classes."""
    records = part.records
    thresholds = _thresholds(records)
    found = {part.name: _whole(records, thresholds)}
    for name, inside in part.classes.items():
        found[name] = _of_class(records, inside, thresholds)
    if part.view == "scored":
        found[part.name] |= _calibration(records)
    else:
        found[part.name]["unscored"] = _share(~records.is_scored)
        for name, inside in part.classes.items():
            found[name]["unscored"] = _share(~records.is_scored[inside])
    return found


def _whole(records: Records, thresholds: dict[str, float]) -> Measures:
    y, rank = records.is_virus, records.rank
    has_both = y.any() and not y.all()
    found = {
        "auroc": roc_auc_score(y, rank) if has_both else math.nan,
        "auprc": average_precision_score(y, rank) if has_both else math.nan,
    }
    for name, threshold in thresholds.items():
        found[f"recall_at_{name}"] = _share(rank[y] >= threshold) if has_both else math.nan
    for rule, called in records.calls.items():
        found |= {f"{name}_at_{rule}": value for name, value in _decision(y, called).items()}
    return found


def _decision(is_virus: Mask, called: Mask) -> Measures:
    """Return the measures of calls; precision is undefined if nothing is called virus."""
    (true_other, false_virus), _ = confusion_matrix(is_virus, called, labels=[False, True])
    others = true_other + false_virus
    has_both = is_virus.any() and not is_virus.all()
    return {
        "precision": precision_score(is_virus, called, zero_division=np.nan),
        "recall": recall_score(is_virus, called, zero_division=np.nan),
        "f1": f1_score(is_virus, called, zero_division=np.nan),
        "mcc": matthews_corrcoef(is_virus, called) if has_both else math.nan,
        "false_positive_rate": false_virus / others if others else math.nan,
    }


def _calibration(records: Records) -> Measures:
    """Return how far probabilities are from labels; empty without probabilities."""
    known = ~np.isnan(records.probability)
    if not known.any():
        return {}
    probability, y = records.probability[known], records.is_virus[known]
    found = {"brier": brier_score_loss(y, probability)}
    for name, bins in calibration_bins(probability).items():
        found[name] = calibration_error(probability, y, bins)
    return found


def _of_class(records: Records, inside: Mask, thresholds: dict[str, float]) -> Measures:
    """Return the AUROC of a class, and its recall or, if not viral, its false positive rate."""
    label = bool(records.is_virus[inside][0])
    opposite = records.is_virus != label
    found = {"auroc": math.nan}
    if opposite.any():
        compared = inside | opposite
        found["auroc"] = roc_auc_score(records.is_virus[compared], records.rank[compared])
    what = "recall" if label else "false_positive_rate"
    for name, threshold in thresholds.items():
        above = _share(records.rank[inside] >= threshold)
        found[f"{what}_at_{name}"] = above if opposite.any() else math.nan
    for rule, called in records.calls.items():
        found[f"{what}_at_{rule}"] = _share(called[inside])
    return found


def _thresholds(records: Records) -> dict[str, float]:
    """Return the lowest rank that keeps to each false positive rate."""
    if records.is_virus.all() or not records.is_virus.any():
        return dict.fromkeys(FALSE_POSITIVE_RATES, math.nan)
    fpr, _, thresholds = roc_curve(records.is_virus, records.rank, drop_intermediate=False)
    return {
        name: float(thresholds[fpr <= rate + ROUNDING].min())
        for name, rate in FALSE_POSITIVE_RATES.items()
    }


def _share(is_so: NDArray[np.bool_]) -> float:
    return float(is_so.mean()) if len(is_so) else math.nan
