"""Measures of a classifier from scores and labels."""

import numpy as np
from numpy.typing import NDArray

#: Tolerance for products such as 0.29 * 100, which is a little less than 29.
_ROUNDING = 1e-9


def auroc(scores: NDArray[np.float64], is_virus: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, as the Mann-Whitney U of both labels.

    It is a quotient of whole and half numbers, so the last digit is the same everywhere, which
    scikit-learn's sum of trapezia does not warrant.
    """
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 (takes half a second to load)

    viruses, others = scores[is_virus], scores[~is_virus]
    found = mannwhitneyu(viruses, others, method="asymptotic")
    return float(found.statistic / (len(viruses) * len(others)))


def threshold_at(
    false_positive_rate: float, scores: NDArray[np.floating], is_virus: NDArray[np.bool_]
) -> float:
    """Return the lowest score that keeps to a false positive rate; infinity if none does."""
    from sklearn.metrics import roc_curve  # noqa: PLC0415 (takes a second to load)

    rates, _, thresholds = roc_curve(is_virus, scores, drop_intermediate=False)
    return float(thresholds[rates <= false_positive_rate + _ROUNDING].min())
