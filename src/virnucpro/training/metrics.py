"""Measures of a classifier from scores and labels."""

import math

import numpy as np
from numpy.typing import NDArray


def auroc(scores: NDArray[np.float64], is_virus: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve; equal scores count half (Mann-Whitney U).

    Raises:
        ValueError: when one of the classes is missing.
    """
    positives = int(is_virus.sum())
    negatives = len(is_virus) - positives
    if not positives or not negatives:
        raise ValueError("an AUROC needs both viral and other sequences")
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_rank[which][is_virus].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def threshold_at(false_positive_rate: float, negatives: NDArray[np.float64]) -> float:
    """Return the lowest threshold that at most this share of `negatives` lies above.

    It is one of `negatives`, or -inf where all of them may lie above.
    """
    # A product such as 0.29 * 100 is a little less than the number it stands for.
    allowed = math.floor(false_positive_rate * len(negatives) + 1e-9)
    if allowed >= len(negatives):
        return -math.inf
    return float(np.sort(negatives)[::-1][allowed])


def recall(scores: NDArray[np.float64], threshold: float) -> float:
    """Return the share of `scores` above `threshold`."""
    return float((scores > threshold).mean())
