"""Viral stretches of a record: where the scores of its chunks change, and which side is viral.

PELT finds the changes of the mean log odds that pay for a penalty (Killick et al. 2012; the library
is fastcpd); a stretch between two of them is viral where its mean is above 0. The constants were
chosen on phages and bacteria that `compact` was trained on; docs/contigs.md says how good they are
on others, docs/log.md what else was tried.
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
#: Chunks of the shortest viral stretch.
_SHORTEST = 5
#: Log odds beyond this say nothing more.
_LARGEST = 3.0
#: What a change must save: half of the squared log odds, in units of their noise's variance.
_PENALTY = 10.0
#: Variance of the noise at least.
_LEAST_NOISE = 0.5
#: PELT takes quadratic time where nothing changes: most chunks that it is given at once.
_WINDOW = 2000


class Segment(NamedTuple):
    """Some chunks in a row, from index `start` to before `end`."""

    start: int
    end: int


def viral_segments(scores_C: Float64) -> list[Segment]:
    """Return the viral stretches of a record, in order and apart from each other.

    Args:
        scores_C: score of each scored chunk, from 0 to 1, in order.
    """
    if len(scores_C) < LEAST_CHUNKS:
        return []
    odds_C = _log_odds(scores_C)
    viral: list[Segment] = []
    for start, end in _stretches(odds_C / _noise(odds_C)):
        if odds_C[start:end].mean() > 0:
            touches = viral and viral[-1].end == start
            viral.append(Segment(viral.pop().start if touches else start, end))
    return [segment for segment in viral if segment.end - segment.start >= _SHORTEST]


def mean_score(scores_C: Float64) -> float:
    """Return the score whose log odds are the mean of those by which stretches are viral."""
    return float(1 / (1 + np.exp(-_log_odds(scores_C).mean())))


def _log_odds(scores_C: Float64) -> Float64:
    """Return the log odds of scores, cut off where they say nothing more."""
    with np.errstate(divide="ignore"):
        odds_C: Float64 = np.log(scores_C) - np.log1p(-scores_C)
    return odds_C.clip(-_LARGEST, _LARGEST)


def _noise(odds_C: Float64) -> float:
    """Return the standard deviation of the noise, by the differences of neighbours (Rice 1984)."""
    variance = float(np.square(np.diff(odds_C)).mean()) / 2
    return math.sqrt(max(variance, _LEAST_NOISE))


def _stretches(values_C: Float64) -> Iterator[Segment]:
    """Cut a record where the mean changes of values whose noise has variance 1.

    A long record is cut a window at a time. What lies behind the last change in a window is
    looked at again in the next; where nothing changes, half of the window is passed.
    """
    start, chunks = 0, len(values_C)
    while chunks - start > _WINDOW:
        changes = _changes(values_C[start : start + _WINDOW]) or [_WINDOW // 2]
        yield from starmap(Segment, pairwise(start + change for change in (0, *changes)))
        start += changes[-1]
    changes = [*_changes(values_C[start:]), chunks - start]
    yield from starmap(Segment, pairwise(start + change for change in (0, *changes)))


def _changes(values_C: Float64) -> list[int]:
    """Return the indices before which the mean changes, neither end among them."""
    found = detect_mean(
        values_C[:, np.newaxis],
        beta=_PENALTY,
        cost_adjustment="BIC",  # none: the penalty alone
        variance_estimation=np.ones((1, 1)),
        cp_only=True,
    )
    return [int(change) for change in found.cp_set]
