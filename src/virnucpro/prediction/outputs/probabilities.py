"""What the scores of a whole run mean: probabilities and false discovery rates.

p_virus is printed with 6 decimals and a calibration has a few lines, so a run of any size has a
limited number of different *kinds* of records. A kind is a calibration line and a p_virus in
millionths, combined into one number. Only the number of records of each kind is held in memory.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from virnucpro.bundles.manifest import Calibration
from virnucpro.classify.probability import (
    Float64,
    Int64,
    at_prevalence,
    estimate_prevalence,
    false_discovery_rates,
    line_numbers,
    probabilities,
)

_DECIMALS = 6
_MILLION = 10**_DECIMALS
#: Number of different p_virus, from 0.000000 to 1.000000.
_SCORES = _MILLION + 1


@dataclass(frozen=True)
class Calibrating:
    """How the scores of a run become probabilities.

    Attributes:
        calibration: calibration of the bundle.
        prevalence: share of viruses among the scored records; None to estimate it.
        max_fdr: records are called virus up to this false discovery rate; None to call them by
            probability.
    """

    calibration: Calibration
    prevalence: float | None
    max_fdr: float | None = None


class Probabilities(NamedTuple):
    """What the scores of a run mean.

    Attributes:
        calibration: calibration of the bundle.
        prevalence: share of viruses that the probabilities assume.
        is_estimated: whether the prevalence was estimated from the run.
        expected: expected number of viruses, the sum of the probabilities.
        thresholds: for each calibration line, the p_virus above which a record is a virus.
        kinds: the kinds that occur in the run, sorted.
        probability: P(virus) of each kind.
        fdr: false discovery rate of each kind with 6 decimals: the expected share of false viruses
            among its records and all records with a higher probability.
    """

    calibration: Calibration
    prevalence: float
    is_estimated: bool
    expected: float
    thresholds: Float64
    kinds: Int64
    probability: Float64
    fdr: Float64

    @classmethod
    def of(cls, records: Int64, wanted: Calibrating, threshold: float) -> "Probabilities":
        """Work out what the scores of a run mean.

        Args:
            records: number of records of each kind.
            wanted: how scores become probabilities.
            threshold: without a `max_fdr`, the probability above which a record is a virus.
        """
        calibration, prevalence = wanted.calibration, wanted.prevalence
        kinds = np.flatnonzero(records)
        counts = records[kinds]
        line, millionths = np.divmod(kinds, _SCORES)
        fitted = probabilities(calibration, line, millionths / _MILLION)
        if prevalence is None:
            prevalence = estimate_prevalence(fitted, counts, calibration.prevalence)
        probability = at_prevalence(fitted, calibration.prevalence, prevalence)
        fdr = np.round(false_discovery_rates(probability, counts), _DECIMALS)
        called = probability > threshold if wanted.max_fdr is None else fdr <= wanted.max_fdr
        thresholds = np.full(len(calibration.lines), math.inf)
        np.minimum.at(thresholds, line[called], (millionths[called] - 0.5) / _MILLION)
        return cls(
            calibration,
            prevalence,
            wanted.prevalence is None,
            float(counts @ probability),
            thresholds,
            kinds,
            probability,
            fdr,
        )

    def columns(self, p_virus: Float64, chunks: Int64, bases: Int64) -> tuple[Float64, Float64]:
        """Return probability and false discovery rate of records; NaN where p_virus is.

        Args:
            p_virus: score of each record.
            chunks: number of scored chunks of each record.
            bases: mean bases of a chunk of each record.
        """
        scored = np.flatnonzero(~np.isnan(p_virus))
        kinds = _kinds(self.calibration, p_virus[scored], chunks[scored], bases[scored])
        kind = np.searchsorted(self.kinds, kinds)
        columns = np.full((2, len(p_virus)), np.nan)
        columns[:, scored] = self.probability[kind], self.fdr[kind]
        return columns[0], columns[1]

    def threshold_of(self, chunks: Int64, bases: Int64) -> Float64:
        """Return the p_virus above which records are viruses; arguments as for `columns`."""
        return self.thresholds[line_numbers(self.calibration, chunks, bases)]


class KindCounts:
    """Counts the records of each kind.

    Args:
        calibration: calibration of the bundle.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self.records = np.zeros(len(calibration.lines) * _SCORES, np.int64)

    def add(self, p_virus: Float64, chunks: Int64, bases: Int64) -> None:
        """Count records; arguments as for `Probabilities.columns`."""
        scored = ~np.isnan(p_virus)
        kinds = _kinds(self._calibration, p_virus[scored], chunks[scored], bases[scored])
        np.add.at(self.records, kinds, 1)


def _kinds(calibration: Calibration, p_virus: Float64, chunks: Int64, bases: Int64) -> Int64:
    """Return the kind of each scored record."""
    millionths: Int64 = np.rint(p_virus * _MILLION).astype(np.int64)
    kinds: Int64 = line_numbers(calibration, chunks, bases) * _SCORES + millionths
    return kinds
