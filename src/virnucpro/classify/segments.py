"""Viral segments of a record, found by changes in the scores of its chunks.

PELT (Killick et al. 2012, as implemented in fastcpd) finds the changes of the mean log odds that
outweigh a penalty. The segment between two changes is viral if its mean is above 0. The constants
were chosen on phages and bacteria that `compact` was trained on; docs/contigs.md shows how well
they work on others, and docs/log.md what else was tried.
"""

import math
from collections.abc import Iterator
from itertools import pairwise, starmap
from typing import NamedTuple

import numpy as np
from fastcpd import detect_mean
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

#: Records with fewer scored chunks are not segmented.
LEAST_CHUNKS = 10
#: Number of chunks of the shortest viral segment.
_SHORTEST = 5
#: Log odds are clipped at this absolute value.
_LARGEST = 3.0
#: Least gain of a change: half of the squared log odds, in units of the variance of their noise.
_PENALTY = 10.0
#: Lower bound of the variance of the noise.
_LEAST_NOISE = 0.5
#: Largest number of chunks for PELT, which takes quadratic time if nothing changes.
_WINDOW = 2000


class Segment(NamedTuple):
    """Consecutive chunks, from index `start` up to but not including `end`."""

    start: int
    end: int


def viral_segments(scores_C: Float64) -> list[Segment]:
    """Return the viral segments of a record, in order; no two of them touch.

    Args:
        scores_C: score of each scored chunk, from 0 to 1, in order.
    """
    if len(scores_C) < LEAST_CHUNKS:
        return []
    odds_C = _log_odds(scores_C)
    viral: list[Segment] = []
    for start, end in _segments(odds_C / _noise(odds_C)):
        if odds_C[start:end].mean() > 0:
            touches = viral and viral[-1].end == start
            viral.append(Segment(viral.pop().start if touches else start, end))
    return [segment for segment in viral if segment.end - segment.start >= _SHORTEST]


def mean_score(scores_C: Float64) -> float:
    """Return the score at the mean of the clipped log odds, which decides whether it is viral."""
    return float(1 / (1 + np.exp(-_log_odds(scores_C).mean())))


def _log_odds(scores_C: Float64) -> Float64:
    """Return the clipped log odds of scores."""
    with np.errstate(divide="ignore"):
        odds_C: Float64 = np.log(scores_C) - np.log1p(-scores_C)
    return odds_C.clip(-_LARGEST, _LARGEST)


def _noise(odds_C: Float64) -> float:
    """Return the standard deviation of the noise, from differences of neighbours (Rice 1984)."""
    variance = float(np.square(np.diff(odds_C)).mean()) / 2
    return math.sqrt(max(variance, _LEAST_NOISE))


def _segments(values_C: Float64) -> Iterator[Segment]:
    """Cut a record where the mean of its values changes; their noise has variance 1.

    A long record is cut one window at a time. The next window begins at the last change in the
    window, or in its middle if nothing changes.
    """
    start, chunks = 0, len(values_C)
    while chunks - start > _WINDOW:
        changes = _changes(values_C[start : start + _WINDOW]) or [_WINDOW // 2]
        yield from starmap(Segment, pairwise(start + change for change in (0, *changes)))
        start += changes[-1]
    changes = [*_changes(values_C[start:]), chunks - start]
    yield from starmap(Segment, pairwise(start + change for change in (0, *changes)))


def _changes(values_C: Float64) -> list[int]:
    """Return the indices before which the mean changes, without both ends."""
    found = detect_mean(
        values_C[:, np.newaxis],
        beta=_PENALTY,
        cost_adjustment="BIC",  # none: the penalty alone
        variance_estimation=np.ones((1, 1)),
        cp_only=True,
    )
    return [int(change) for change in found.cp_set]
