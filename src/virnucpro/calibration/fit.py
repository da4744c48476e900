"""Fitting a calibration on labelled scores.

Two rising lines are tried: isotonic regression (Zadrozny and Elkan 2002) with its steps joined at
their centres (Oron and Flournoy 2017), and a logistic curve on the log odds of the score (Platt
1999). The curve is taken where its log loss on sources it was not fitted on is lower by more than
a standard error, which it is where records are few: with many it is too sure at its ends, on which
false discovery rates hang (docs/calibration.md). Viruses and others weigh the same in all, so that
a line is for a share of viruses of one half.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np

from virnucpro.bundles.manifest import CalibrationLine
from virnucpro.classify.probability import Bool, Float64, Int64, last_reached

#: Share of viruses that a fit is for.
PREVALENCE = 0.5
#: Records that a line needs of viruses, and of others, from two sources or more.
LEAST_RECORDS = 50
#: From so many scored chunks, and bases of a chunk, on there is a line of its own, where records
#: suffice for it. 225 and 400 lie between the usual lengths of reads, 150, 300 and 500.
FIRSTS = tuple(product((1, 2, 3, 5, 9), (0, 225, 400)))
_FOLDS = 5
_ECE_BINS = 15
#: Most steps of the isotonic line, and knots of the logistic one.
_STEPS = 100
#: p_virus has 6 decimals: half of the last one is kept between it and 0 or 1.
_HALF_DECIMAL = 5e-7
#: How much nearer to 0 or 1 a line is at its ends than in its first and last step.
_TILT = 0.01
#: Shares of two steps that differ by less are the same, but for rounding.
_LEAST_RISE = 1e-9


class Line(NamedTuple):
    """A line from score to P(virus); it starts at score 0, ends at 1, and always rises.

    Attributes:
        scores: of the knots.
        probabilities: at the knots, never 0 or 1.
    """

    scores: Float64
    probabilities: Float64

    def at(self, scores: Float64) -> Float64:
        """Return P(virus) of scores."""
        return np.interp(scores, self.scores, self.probabilities)


class FittedLine(NamedTuple):
    """A line for records with so many scored chunks of so many bases, or more.

    Attributes:
        chunks: the least.
        bases: of a chunk, the least.
        method: `isotonic` or `logistic`.
        line: fitted on all of these records.
    """

    chunks: int
    bases: int
    method: str
    line: Line

    def described(self) -> CalibrationLine:
        """Return it as a bundle holds it."""
        return CalibrationLine(
            chunks=self.chunks,
            bases=self.bases,
            scores=tuple(self.line.scores.tolist()),
            probabilities=tuple(self.line.probabilities.tolist()),
        )


class Fit(NamedTuple):
    """What a calibration is made of.

    Attributes:
        lines: by chunks and bases, the first for one chunk.
        metrics: of the scores as they were, and of lines on sources they were not fitted on.
    """

    lines: list[FittedLine]
    metrics: dict[str, float]


def fit(scores: Float64, chunks: Int64, bases: Int64, is_virus: Bool, sources: Int64) -> Fit:
    """Fit lines and measure them by cross-validation over sources.

    Args:
        scores: p_virus of each record.
        chunks: scored chunks of each, one or more.
        bases: of a chunk of each, the mean.
        is_virus: what each is.
        sources: number of the genome, or of whatever else is alike, that each is of.

    Raises:
        ValueError: when there are too few records or sources of viruses or of others.
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
    """Return from how many chunks, and bases of a chunk, on each line is, and its records.

    Where records are few, those of the next lower line have them too.
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
    """Return the method that does better on left-out sources, and its probabilities there."""
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
    """Deal sources into folds, the largest first, so that beside each fold are both labels.

    What of a source is viral, and what is not, are two sources.
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

    Half a record of each class is added to each step (Krichevsky and Trofimov 1981), so that none
    says 0 or 1, and a step of few records says little.
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
        steps_K3: weight of viruses, weight of others, sum of weighted scores, of each step.
        added_3: what a step has besides when its share is taken.
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

    The targets are Platt's, as if one more record of each class were on the wrong side, so that b
    stays finite. Where viruses score lower, the line all but stays level.
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


#: How a line is fitted, by name.
METHODS: dict[str, Callable[[Float64, Bool], Line]] = {"isotonic": isotonic, "logistic": logistic}


def _whole_line(scores: Float64, shares: Float64) -> Line:
    """Lead a line on to scores 0 and 1, all but level, and keep the knots where it rises."""
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
    """Return weights with which viruses and others weigh the same, one on average."""
    half, viruses = len(is_virus) / 2, int(is_virus.sum())
    return np.where(is_virus, half / viruses, half / (len(is_virus) - viruses))


def calibration_error(probability: Float64, is_virus: Bool, weights: Float64) -> float:
    """Return the expected calibration error over 15 bins of equal width.

    That is the mean distance between P(virus) and the share of viruses of a bin (Naeini et al.
    2015).
    """
    which = np.minimum((probability * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
    distance = np.bincount(which, weights=weights * (probability - is_virus))
    return float(np.abs(distance).sum() / weights.sum())


def log_loss(probability: Float64, is_virus: Bool, weights: Float64) -> float:
    """Return the mean of -log P(what a record is)."""
    return float((weights * _losses(probability, is_virus)).sum() / weights.sum())


def _losses(probability: Float64, is_virus: Bool) -> Float64:
    right = np.where(is_virus, probability, 1 - probability)
    losses: Float64 = -np.log(np.clip(right, _HALF_DECIMAL, 1))
    return losses
