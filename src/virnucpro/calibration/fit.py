"""Fit a calibration on labelled scores.

Two kinds of rising line are tried: isotonic regression (Zadrozny and Elkan 2002) whose steps are
joined at their centres (Oron and Flournoy 2017), and a logistic curve on the log odds of the score
(Platt 1999). The curve is taken if its log loss on left-out sources is lower by more than a
standard error. That happens with few records; with many the curve is too confident at its ends, on
which false discovery rates depend (docs/calibration.md). Viruses and others have equal total
weight, so a line is for a prevalence of one half.

scikit-learn's `IsotonicRegression` adds no half records to a pool, and its `LogisticRegression`
takes no fractional targets, so both lines are fitted here.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np

from virnucpro.bundles.manifest import CalibrationLine
from virnucpro.classify.probability import Bool, Float64, Int64, last_reached

#: Share of viruses that lines are for.
PREVALENCE = 0.5
#: Minimum number of viral records, and of other ones, for a line, each from two sources or more.
LEAST_RECORDS = 50
#: Minimum scored chunks and bases of a chunk of each line; a line is fitted if there are enough
#: records. 225 and 400 lie between the usual lengths of reads, 150, 300 and 500.
FIRSTS = tuple(product((1, 2, 3, 5, 9), (0, 225, 400)))
_FOLDS = 5
_ECE_BINS = 15
#: Maximum number of steps of the isotonic line, and number of knots of the logistic one.
_STEPS = 100
#: Half of the last of the 6 decimals of p_virus; probabilities stay this far from 0 and 1.
_HALF_DECIMAL = 5e-7
#: Share by which a line is nearer to 0 or 1 at its ends than in its first and last step.
_TILT = 0.01
#: Steps whose shares differ by less are equal except for rounding.
_LEAST_RISE = 1e-9


class Line(NamedTuple):
    """A rising line from score to P(virus), from score 0 to score 1.

    Attributes:
        scores: scores of the knots.
        probabilities: P(virus) at the knots, never 0 or 1.
    """

    scores: Float64
    probabilities: Float64

    def at(self, scores: Float64) -> Float64:
        """Return P(virus) at these scores."""
        return np.interp(scores, self.scores, self.probabilities)


class FittedLine(NamedTuple):
    """A line for records with a minimum of scored chunks and of bases a chunk.

    Attributes:
        chunks: minimum number of scored chunks.
        bases: minimum mean of bases of a chunk.
        method: `isotonic` or `logistic`.
        line: the line, fitted on all of these records.
    """

    chunks: int
    bases: int
    method: str
    line: Line

    def described(self) -> CalibrationLine:
        """Return the line as a bundle stores it."""
        return CalibrationLine(
            chunks=self.chunks,
            bases=self.bases,
            scores=tuple(self.line.scores.tolist()),
            probabilities=tuple(self.line.probabilities.tolist()),
        )


class Fit(NamedTuple):
    """The result of a fit.

    Attributes:
        lines: lines by chunks and bases; the first is for one chunk.
        metrics: measures of the raw scores, and of lines on left-out sources.
    """

    lines: list[FittedLine]
    metrics: dict[str, float]


def fit(scores: Float64, chunks: Int64, bases: Int64, is_virus: Bool, sources: Int64) -> Fit:
    """Fit lines and measure them by cross-validation over sources.

    Args:
        scores: p_virus of each record.
        chunks: number of scored chunks of each record, one or more.
        bases: mean number of bases of a chunk of each record.
        is_virus: label of each record.
        sources: number of the genome that each record was cut from.

    Raises:
        ValueError: there are too few records or sources of viruses or of others.
    """
    if not _suffice(is_virus, sources):
        raise ValueError(
            f"{is_virus.sum()} viral and {(~is_virus).sum()} other scored records have a label; a "
            f"calibration needs {LEAST_RECORDS} of each, from 2 sources or more"
        )
    held_out, weights, lines = np.empty(len(scores)), np.empty(len(scores)), []
    for least, here in _parts(chunks, bases, is_virus, sources):
        weights[here] = class_weights(is_virus[here])
        method, held_out[here] = _best_method(scores[here], is_virus[here], sources[here])
        lines.append(FittedLine(*least, method, METHODS[method](scores[here], is_virus[here])))
    metrics = {
        "records": float(len(scores)),
        "viruses": float(is_virus.sum()),
        "sources": float(len(np.unique(sources))),
        "ece_before": calibration_error(scores, is_virus, weights),
        "ece": calibration_error(held_out, is_virus, weights),
        "log_loss_before": log_loss(scores, is_virus, weights),
        "log_loss": log_loss(held_out, is_virus, weights),
    }
    return Fit(lines, {name: round(value, 5) for name, value in metrics.items()})


def _suffice(is_virus: Bool, sources: Int64) -> bool:
    return all(
        of_class.sum() >= LEAST_RECORDS and len(np.unique(sources[of_class])) >= 2
        for of_class in (is_virus, ~is_virus)
    )


def _parts(
    chunks: Int64, bases: Int64, is_virus: Bool, sources: Int64
) -> list[tuple[tuple[int, int], Bool]]:
    """Return the minimum chunks and bases of each line, and its records.

    If a line would have too few records, they go to the next lower line.
    """
    firsts = list(FIRSTS)
    for first in reversed(FIRSTS):
        here = last_reached(firsts, chunks, bases) == firsts.index(first)
        if not _suffice(is_virus[here], sources[here]):
            firsts.remove(first)
    firsts[0] = FIRSTS[0]
    number = last_reached(firsts, chunks, bases)
    return [(first, number == k) for k, first in enumerate(firsts)]


def _best_method(scores: Float64, is_virus: Bool, sources: Int64) -> tuple[str, Float64]:
    """Return the method that is better on left-out sources, and its probabilities there."""
    fold = _folds(is_virus, sources)
    held_out = {method: np.empty(len(scores)) for method in METHODS}
    for test in (fold == k for k in range(int(fold.max()) + 1)):
        for method, fitted in METHODS.items():
            held_out[method][test] = fitted(scores[~test], is_virus[~test]).at(scores[test])
    losses = [_losses(held_out[method], is_virus) for method in ("isotonic", "logistic")]
    gain = class_weights(is_virus) * (losses[0] - losses[1])
    of_source = np.bincount(np.unique(sources, return_inverse=True)[1], weights=gain)
    is_sure = of_source.mean() > of_source.std() / math.sqrt(len(of_source))
    best = "logistic" if is_sure else "isotonic"
    return best, held_out[best]


def _folds(is_virus: Bool, sources: Int64) -> Int64:
    """Deal sources into folds, largest first, so that both labels remain outside each fold.

    The viral and the other records of a source count as two sources.
    """
    fold = np.empty(len(sources), np.int64)
    for of_class in (is_virus, ~is_virus):
        _, source, records = np.unique(sources[of_class], return_inverse=True, return_counts=True)
        dealt = np.empty(len(records), np.int64)
        dealt[np.argsort(-records, kind="stable")] = np.arange(len(records)) % _FOLDS
        fold[of_class] = dealt[source]
    return fold


def isotonic(scores: Float64, is_virus: Bool) -> Line:
    """Return the line through the centres of the steps of an isotonic regression.

    Half a record of each class is added to each step (Krichevsky and Trofimov 1981), so that no
    probability is 0 or 1 and a step with few records stays near one half.
    """
    weights = class_weights(is_virus)
    _, which = np.unique(scores, return_inverse=True)
    weight = np.bincount(which, weights=weights)
    step = (_STEPS * (np.cumsum(weight) - weight / 2) / weight.sum()).astype(np.int64)[which]
    columns = (weights * is_virus, weights * ~is_virus, weights * scores)
    steps_K3: Float64 = np.column_stack([np.bincount(step, weights=x) for x in columns])
    steps_K3 = steps_K3[steps_K3[:, :2].any(axis=1)]
    halves_3 = np.array([weights[is_virus][0] / 2, weights[~is_virus][0] / 2, 0.0])
    pooled_K3 = _pooled(_pooled(steps_K3, np.zeros(3)), halves_3)
    centres = pooled_K3[:, 2] / pooled_K3[:, :2].sum(axis=1)
    return _whole_line(centres, np.array([_share(step + halves_3) for step in pooled_K3]))


def _pooled(steps_K3: Float64, added_3: Float64) -> Float64:
    """Pool adjacent violators: join neighbours until the share of viruses always rises.

    Args:
        steps_K3: for each step, weight of viruses, weight of others, sum of weighted scores.
        added_3: added to each pooled step before its share is computed.
    """
    pooled: list[Float64] = []
    for step in steps_K3:
        pooled.append(step)
        while len(pooled) > 1 and _share(pooled[-2] + added_3) >= _share(pooled[-1] + added_3):
            pooled[-2:] = [pooled[-2] + pooled[-1]]
    return np.array(pooled)


def _share(step_3: Float64) -> float:
    return float(step_3[0] / (step_3[0] + step_3[1]))


def logistic(scores: Float64, is_virus: Bool) -> Line:
    """Return knots of sigmoid(a + b * log odds of the score), fitted by Newton's method.

    The targets are Platt's, as if one more record of each class had the wrong label, so that b
    stays finite. If viruses score lower than others, the line is almost level.
    """
    weights = class_weights(is_virus)
    viruses, others = is_virus.sum(), (~is_virus).sum()
    target = np.where(is_virus, (viruses + 1) / (viruses + 2), 1 / (others + 2))
    x_N2 = np.column_stack([np.ones(len(scores)), _log_odds(scores)])
    a_b = np.array([0.0, 1.0])
    for _ in range(100):
        found = _sigmoid(x_N2 @ a_b)
        slope = x_N2.T @ (weights * (target - found))
        curvature = (x_N2 * (weights * found * (1 - found))[:, None]).T @ x_N2
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), slope)
        a_b += step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    low, high = _log_odds(np.array([0.0, 1.0])).tolist()
    knots = np.linspace(low, high, _STEPS)
    shares = _sigmoid(np.clip(a_b[0] + max(a_b[1], 1e-3) * knots, low, high))
    return _whole_line(_sigmoid(knots), shares)


#: Name of a method -> function that fits a line.
METHODS: dict[str, Callable[[Float64, Bool], Line]] = {"isotonic": isotonic, "logistic": logistic}


def _whole_line(scores: Float64, shares: Float64) -> Line:
    """Extend a line almost level to scores 0 and 1, and keep the knots at which it rises."""
    rises = np.append(True, np.diff(shares) > _LEAST_RISE) & (scores > 0) & (scores < 1)
    low, high = shares[0] * (1 - _TILT), 1 - (1 - shares[-1]) * (1 - _TILT)
    return Line(
        np.concatenate([[0.0], scores[rises], [1.0]]),
        np.concatenate([[low], shares[rises], [high]]),
    )


def _log_odds(scores: Float64) -> Float64:
    inside = np.clip(scores, _HALF_DECIMAL, 1 - _HALF_DECIMAL)
    return np.log(inside / (1 - inside))


def _sigmoid(x: Float64) -> Float64:
    return 1 / (1 + np.exp(-x))


def class_weights(is_virus: Bool) -> Float64:
    """Return weights of mean one under which viruses and others have equal total weight."""
    half, viruses = len(is_virus) / 2, int(is_virus.sum())
    return np.where(is_virus, half / viruses, half / (len(is_virus) - viruses))


def calibration_error(probability: Float64, is_virus: Bool, weights: Float64) -> float:
    """Return the expected calibration error over 15 bins of equal width.

    This is the mean distance between P(virus) and the share of viruses of a bin (Naeini et al.
    2015).
    """
    which = np.minimum((probability * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
    distance = np.bincount(which, weights=weights * (probability - is_virus))
    return float(np.abs(distance).sum() / weights.sum())


def log_loss(probability: Float64, is_virus: Bool, weights: Float64) -> float:
    """Return the mean of -log P(true label)."""
    return float((weights * _losses(probability, is_virus)).sum() / weights.sum())


def _losses(probability: Float64, is_virus: Bool) -> Float64:
    right = np.where(is_virus, probability, 1 - probability)
    losses: Float64 = -np.log(np.clip(right, _HALF_DECIMAL, 1))
    return losses
