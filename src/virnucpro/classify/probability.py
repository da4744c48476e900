"""What a record's score means: the chance that it is viral, and what share of calls is false.

A bundle's `Calibration` is a rising line from p_virus to the probability of a virus, in data with
a known share of viruses; one line for each of a few numbers of scored chunks, since many chunks
that agree say more than one, and of their lengths, since a long chunk says more than a short one.
Elsewhere that share is another; the rest is arithmetic on it.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from virnucpro.bundles.manifest import Calibration

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

#: An estimated share of viruses has 6 decimals and is neither 0 nor 1.
_DECIMALS = 6
_LEAST = 10**-_DECIMALS
#: Viruses, and others, that a sample is taken to have beside its own records.
_PRIOR = 2
#: Scores that `least_score` looks at.
_STEPS = 1000


def line_numbers(calibration: Calibration, chunks: Int64, bases: Int64) -> Int64:
    """Return which line is for records; any if they are unscored.

    Args:
        calibration: of the bundle that gave the scores.
        chunks: scored chunks of each record.
        bases: of a chunk of each record, the mean.
    """
    firsts = [(line.chunks, line.bases) for line in calibration.lines]
    return last_reached(firsts, np.maximum(chunks, 1), bases)


def last_reached(firsts: Iterable[tuple[int, int]], chunks: Int64, bases: Int64) -> Int64:
    """Return which line is the last that asks for no more chunks and bases than records have.

    Args:
        firsts: the least chunks, and bases of a chunk, of each line, rising.
        chunks: scored chunks of each record.
        bases: of a chunk of each record, the mean.

    Returns:
        numbers of lines, -1 where each asks for more.
    """
    found = np.full(len(chunks), -1, dtype=np.int64)
    for number, (least_chunks, least_bases) in enumerate(firsts):
        found[(chunks >= least_chunks) & (bases >= least_bases)] = number
    return found


def probabilities(calibration: Calibration, line: Int64, scores: Float64) -> Float64:
    """Return P(virus) of records where the share of viruses is the calibration's.

    Args:
        calibration: of the bundle that gave the scores.
        line: number of the line for each record.
        scores: p_virus of each record, from 0 to 1.
    """
    found = np.empty(len(scores))
    for number, knots in enumerate(calibration.lines):
        here = line == number
        found[here] = np.interp(scores[here], knots.scores, knots.probabilities)
    return found


def least_score(calibration: Calibration, prevalence: float, probability: float) -> float:
    """Return a p_virus below that of every record whose chance of a virus exceeds `probability`.

    Args:
        calibration: of the bundle that gives the scores.
        prevalence: share of viruses that the chance is for.
        probability: of a virus.
    """
    scores = np.linspace(0, 1, _STEPS + 1)
    fitted = [np.interp(scores, line.scores, line.probabilities) for line in calibration.lines]
    chances = at_prevalence(np.array(fitted), calibration.prevalence, prevalence)
    exceeds = np.flatnonzero((chances > probability).any(axis=0))
    return float(scores[exceeds[0]] - 2 / _STEPS) if len(exceeds) else 1.0


def at_prevalence(probability: Float64, before: float, after: float) -> Float64:
    """Turn probabilities for one share of viruses into those for another.

    The odds are multiplied by the ratio of the shares' odds: Saerens, Latinne and Decaestecker
    2002, equation 2.4. What it takes for granted is that viral records, and the others, score as
    those of the data that the calibration was fitted on.
    """
    virus = probability * after / before
    other = (1 - probability) * (1 - after) / (1 - before)
    return virus / (virus + other)


def estimate_prevalence(probability: Float64, counts: Int64, before: float) -> float:
    """Return the share of viruses that makes a sample's scores most likely.

    It is what the EM of Saerens et al. climbs to where `_PRIOR` viruses and as many others are
    among the records beside, so that a few records alone say little. The likelihood is concave in
    the share, so the zero of its slope is found by halving an interval, which is sure to end.

    Args:
        probability: P(virus) for a share of `before`, of each kind of record.
        counts: how many records there are of each kind.
        before: share of viruses that the calibration is for.

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
    """Return the share of false viruses to expect among each kind of record and all above it.

    That is the mean of 1 - P(virus) over the records whose P(virus) is as high or higher.

    Args:
        probability: P(virus) of each kind of record.
        counts: how many records there are of each kind, one or more.
    """
    falling, kind = np.unique(-probability, return_inverse=True)
    records = np.bincount(kind, weights=counts)
    rates: Float64 = np.cumsum(records * (1 + falling)) / np.cumsum(records)
    return rates[kind]
