"""The probability that a record is viral, and the false discovery rate of calls.

The `Calibration` of a bundle consists of rising curves from p_virus to the probability of a virus
in data with a known share of viruses (the prevalence). There are several curves for different
numbers and lengths of scored chunks, because many chunks are better evidence than one, and long
chunks better than short ones. Samples have another prevalence; this module converts to it.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from virnucpro.bundles.manifest import Calibration

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

#: An estimated prevalence has 6 decimals and is neither 0 nor 1.
_DECIMALS = 6
_LEAST = 10**-_DECIMALS
#: Number of viruses, and of others, that the estimate adds to the records of a sample.
_PRIOR = 2
#: Number of steps in which `least_score` scans the scores.
_STEPS = 1000


def line_numbers(calibration: Calibration, chunks: Int64, bases: Int64) -> Int64:
    """Return the number of the curve of each record; for an unscored record any number.

    Args:
        calibration: calibration of the bundle that computed the scores.
        chunks: number of scored chunks of each record.
        bases: mean length of the chunks of each record.
    """
    firsts = [(line.chunks, line.bases) for line in calibration.lines]
    return last_reached(firsts, np.maximum(chunks, 1), bases)


def last_reached(firsts: Iterable[tuple[int, int]], chunks: Int64, bases: Int64) -> Int64:
    """Return for each record the last curve with minima that the record reaches.

    Args:
        firsts: minimum number and mean length of chunks of each curve, rising.
        chunks: number of scored chunks of each record.
        bases: mean length of the chunks of each record.

    Returns:
        numbers of curves; -1 if a record reaches the minima of none.
    """
    found = np.full(len(chunks), -1, dtype=np.int64)
    for number, (least_chunks, least_bases) in enumerate(firsts):
        found[(chunks >= least_chunks) & (bases >= least_bases)] = number
    return found


def probabilities(calibration: Calibration, line: Int64, scores: Float64) -> Float64:
    """Return P(virus) of records at the prevalence of the calibration.

    Args:
        calibration: calibration of the bundle that computed the scores.
        line: number of the curve of each record.
        scores: p_virus of each record, from 0 to 1.
    """
    found = np.empty(len(scores))
    for number, knots in enumerate(calibration.lines):
        here = line == number
        found[here] = np.interp(scores[here], knots.scores, knots.probabilities)
    return found


def least_score(calibration: Calibration, prevalence: float, probability: float) -> float:
    """Return a p_virus below that of every record with a P(virus) above `probability`.

    Args:
        calibration: calibration of the bundle that computes the scores.
        prevalence: share of viruses in the sample.
        probability: lower bound of P(virus).
    """
    scores = np.linspace(0, 1, _STEPS + 1)
    fitted = [np.interp(scores, line.scores, line.probabilities) for line in calibration.lines]
    chances = at_prevalence(np.array(fitted), calibration.prevalence, prevalence)
    exceeds = np.flatnonzero((chances > probability).any(axis=0))
    return float(scores[exceeds[0]] - 2 / _STEPS) if len(exceeds) else 1.0


def at_prevalence(probability: Float64, before: float, after: float) -> Float64:
    """Convert probabilities from one prevalence to another.

    The odds are multiplied by the ratio of the odds of the prevalences (Saerens, Latinne and
    Decaestecker 2002, equation 2.4). This assumes that the scores of viral records, and of others,
    are distributed as in the data that the calibration was fitted on.
    """
    virus = probability * after / before
    other = (1 - probability) * (1 - after) / (1 - before)
    return virus / (virus + other)


def estimate_prevalence(probability: Float64, counts: Int64, before: float) -> float:
    """Return the share of viruses that makes the scores of a sample most likely.

    The EM algorithm of Saerens et al. converges to it if `_PRIOR` viruses and as many others are
    added to the records; so a few records change the estimate little. The likelihood is concave in
    the share. So bisection finds the zero of its slope, and always ends.

    Args:
        probability: P(virus) of each kind of record at the prevalence `before`.
        counts: number of records of each kind.
        before: prevalence of the calibration.

    Returns:
        a number with 6 decimals from 0.000001 to 0.999999.
    """
    virus, other = probability / before, (1 - probability) / (1 - before)
    low, high = _LEAST, 1.0 - _LEAST
    while high - low > _LEAST / 10:
        share = (low + high) / 2
        slope = float((counts * (virus - other) / (share * virus + (1 - share) * other)).sum())
        slope += _PRIOR / share - _PRIOR / (1 - share)
        low, high = (share, high) if slope > 0 else (low, share)
    return float(round((low + high) / 2, _DECIMALS))


def false_discovery_rates(probability: Float64, counts: Int64) -> Float64:
    """Return the false discovery rate to expect if each kind of record is the last one called.

    It is the mean of 1 - P(virus) over the records with this P(virus) or a higher one.

    Args:
        probability: P(virus) of each kind of record.
        counts: number of records of each kind, one or more.
    """
    falling, kind = np.unique(-probability, return_inverse=True)
    records = np.bincount(kind, weights=counts)
    rates: Float64 = np.cumsum(records * (1 + falling)) / np.cumsum(records)
    return rates[kind]
