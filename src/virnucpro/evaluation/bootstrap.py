"""Bootstrap intervals: the sources that records were cut from are resampled."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from virnucpro.evaluation.matched_records import Part, Records
from virnucpro.evaluation.weighted import WeightedPart

#: Weights computed at once; about as many as fit a core's cache.
_WEIGHTS_AT_ONCE = 1 << 18
#: Percentiles that bound 95 % of the resamples.
_INTERVAL = (2.5, 97.5)
Interval = tuple[float, float]


def intervals(
    records: Records, parts: Sequence[Part], resamples: int, seed: int
) -> list[dict[str, dict[str, Interval]]]:
    """Return the 95 % percentile interval of every measure, for each part by group.

    As many sources as there are are drawn with replacement, viral and other sources separately
    (Efron and Tibshirani 1993, An introduction to the bootstrap, ch. 13; for clustered data Field
    and Welsh 2007, J. R. Stat. Soc. B 69:369). Resamples in which a measure is undefined are left
    out of its interval.

    Args:
        records: all records.
        parts: the parts of `records` to measure.
        resamples: number of resamples; 0 gives no intervals.
        seed: seed of the draws.
    """
    if not resamples:
        return [{} for _ in parts]
    weighted = [WeightedPart(part) for part in parts]
    drawn: list[dict[str, dict[str, list[NDArray[np.float64]]]]] = [
        defaultdict(lambda: defaultdict(list)) for _ in parts
    ]
    for weights_BN in weights(records, resamples, seed):
        for part, kept in zip(weighted, drawn, strict=True):
            for group, measures in part.measure(weights_BN[:, part.part.rows]).items():
                for name, values in measures.items():
                    kept[group][name].append(values)
    return [
        {
            group: {name: _interval(np.concatenate(values)) for name, values in measures.items()}
            for group, measures in kept.items()
        }
        for kept in drawn
    ]


def weights(records: Records, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each record counts, for batches of resamples, shape (B, N)."""
    random = np.random.default_rng(seed)
    sources, first = np.unique(records.source, return_index=True)
    is_virus = records.is_virus[first]
    strata = [sources[is_virus], sources[~is_virus]]
    at_once = max(1, _WEIGHTS_AT_ONCE // len(records))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        times = np.zeros((count, int(sources.max()) + 1))
        for stratum in strata:
            n = len(stratum)
            times[:, stratum] = random.multinomial(n, np.full(n, 1 / n), size=count)
        yield times[:, records.source]


def _interval(values: NDArray[np.float64]) -> Interval:
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, _INTERVAL)
    return float(low), float(high)
