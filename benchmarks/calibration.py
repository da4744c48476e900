"""What a calibration fitted on half of the sources says of the other half.

    virnucpro predict dev_500.fa.gz -o dev500 && ...
    python benchmarks/calibration.py dev150 dev300 dev500 --labels labels.tsv

Ten splits by source. Prints calibration error (15 bins) and log loss of scores and of
probabilities, and for samples of few viruses the estimated prevalence and the true share of false
viruses at each `--max-fdr`.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.bundles.manifest import Calibration
from virnucpro.classify.calibration import (
    at_prevalence,
    estimate_prevalence,
    false_discovery_rates,
    line_numbers,
    probabilities,
)
from virnucpro.classify.calibration_fit import (
    PREVALENCE,
    calibration_error,
    class_weights,
    fit,
    log_loss,
)

_SPLITS = 10
_PREVALENCES, _RATES = (0.5, 0.1, 0.02), (0.05, 0.1, 0.2)


def main() -> None:
    """Print means over the splits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="output directories of predict")
    parser.add_argument("--labels", type=Path, required=True, help="id, is_virus, source")
    arguments = parser.parse_args()
    labels = pl.read_csv(arguments.labels, separator="\t")
    tables = [
        pl.read_csv(run / "records.tsv", separator="\t", schema_overrides={"p_virus": pl.Float64})
        .join(labels, left_on="record", right_on="id")
        .select("p_virus", "is_virus", "source", "length")
        for run in arguments.runs
    ]
    rows = pl.concat(tables).filter(pl.col("p_virus").is_not_null())
    scores, is_virus = rows["p_virus"].to_numpy(), rows["is_virus"].to_numpy() == 1
    bases = rows["length"].to_numpy()
    genomes = rows["source"].str.split(":").list.first()
    sources = genomes.rank("dense").to_numpy().astype(np.int64) - 1
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for seed in range(_SPLITS):
        random = np.random.default_rng(seed)
        half = (random.permutation(sources.max() + 1) % 2)[sources] == 0
        ones = np.ones(int(half.sum()), dtype=np.int64)
        fitted = fit(scores[half], ones, bases[half], is_virus[half], sources[half])
        calibration = Calibration(
            lines=tuple(line.described() for line in fitted.lines), prevalence=PREVALENCE,
            chunk_length=500, frames="all", data="half of the sources", metrics={},
        )  # fmt: skip
        number = line_numbers(calibration, np.ones_like(bases), bases)
        probability = probabilities(calibration, number, scores)
        left = np.flatnonzero(~half)
        for name, said in (("scores", scores), ("probabilities", probability)):
            found[f"{name}: calibration error, log loss"].append(_losses(said, is_virus, left))
        for prevalence in _PREVALENCES:
            some = _sample(is_virus, left, prevalence, random)
            _few(found, probability[some], is_virus[some], prevalence)
    for name, values in found.items():
        mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        print(f"{name:<48}{np.round(mean, 3)}  sd {np.round(deviation, 3)}")


def _losses(
    said: NDArray[np.float64], is_virus: NDArray[np.bool_], which: NDArray[np.int64]
) -> tuple[float, float]:
    weights = class_weights(is_virus[which])
    of = said[which], is_virus[which], weights
    return calibration_error(*of), log_loss(*of)


def _sample(
    is_virus: NDArray[np.bool_],
    left: NDArray[np.int64],
    prevalence: float,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw records left out so that a share of them is viral."""
    viruses, others = left[is_virus[left]], left[~is_virus[left]]
    count = min(len(viruses), int(len(others) * prevalence / (1 - prevalence)))
    beside = min(len(others), int(count * (1 - prevalence) / prevalence))
    drawn = [random.choice(viruses, count, replace=False), random.choice(others, beside, False)]  # noqa: FBT003
    return np.concatenate(drawn)


def _few(
    found: dict[str, list[tuple[float, ...]]],
    fitted: NDArray[np.float64],
    is_virus: NDArray[np.bool_],
    prevalence: float,
) -> None:
    """Note the estimate, and what is false among those called at each rate."""
    ones = np.ones(len(fitted), dtype=np.int64)
    found[f"prevalence {prevalence}: estimated"].append((estimate_prevalence(fitted, ones, 0.5),))
    rates = false_discovery_rates(at_prevalence(fitted, 0.5, prevalence), ones)
    false = []
    for rate in _RATES:
        called = rates <= rate
        false.append(float((~is_virus[called]).mean()) if called.any() else np.nan)
    found[f"prevalence {prevalence}: false at {_RATES}"].append(tuple(false))


if __name__ == "__main__":
    main()
