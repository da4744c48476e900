"""Calibration: probabilities against the share of viral records, in bins of probability."""

import numpy as np
from numpy.typing import NDArray

from virnucpro.evaluation.matched_records import Mask
from virnucpro.evaluation.result import ReliabilityBin

BINS = 15


def calibration_bins(probability: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
    """Return the bin of each probability, for bins of equal width and for bins of equal size.

    Equal probabilities share a bin, so bins of equal size may be fewer and differ in size.
    """
    width = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    inner = np.unique(np.quantile(probability, np.arange(1, BINS) / BINS))
    return {"ece": width, "ece_equal_mass": np.searchsorted(inner, probability, side="right")}


def calibration_error(
    probability: NDArray[np.float64], is_virus: Mask, bins: NDArray[np.int64]
) -> float:
    """Return the expected calibration error of P(virus).

    This is the mean over records of |share of viral records - mean probability| of a record's bin
    (Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning, AAAI).
    """
    gaps = np.bincount(bins, is_virus - probability)
    return float(np.abs(gaps).sum() / len(bins))


def reliability(probability: NDArray[np.float64], is_virus: Mask) -> list[ReliabilityBin]:
    """Return the non-empty bins of equal width; records without a probability are left out."""
    known = ~np.isnan(probability)
    if not known.any():
        return []
    probability, is_virus = probability[known], is_virus[known]
    bins = calibration_bins(probability)["ece"]
    return [
        ReliabilityBin(
            low=round(int(number) / BINS, 6),
            high=round((int(number) + 1) / BINS, 6),
            records=int(inside.sum()),
            virus=int(is_virus[inside].sum()),
            mean_probability=round(float(probability[inside].mean()), 6),
        )
        for number in np.unique(bins)
        for inside in (bins == number,)
    ]
