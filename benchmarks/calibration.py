"""What a calibration fitted on half of the sources says of the other half.

    virnucpro predict dev_500.fa.gz -o dev500 && ...
    python benchmarks/calibration.py dev150 dev300 dev500 --labels labels.tsv

Ten splits by source. Prints calibration error (15 bins) and log loss of scores and of
probabilities, and for samples of few viruses the estimated prevalence and the true share of false
viruses at each `--max-fdr`. Then the same losses, and what is called virus at some prevalences,
by the scored chunks of a record and the bases of a chunk: from so many of each on.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.bundles.manifest import Calibration
from virnucpro.calibration.api import labelled_scores
from virnucpro.calibration.fit import (
    FIRSTS,
    PREVALENCE,
    calibration_error,
    class_weights,
    fit,
    log_loss,
)
from virnucpro.classify.probability import (
    at_prevalence,
    estimate_prevalence,
    false_discovery_rates,
    last_reached,
    line_numbers,
    probabilities,
)
from virnucpro.runs.run import read_run

_SPLITS = 10
_PREVALENCES, _RATES = (0.5, 0.1, 0.02), (0.05, 0.1, 0.2)


def main() -> None:
    """Print means over the splits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="output directories of predict")
    parser.add_argument("--labels", type=Path, required=True, help="id, is_virus, source")
    arguments = parser.parse_args()
    rows = pl.concat(_rows(run, arguments.labels) for run in arguments.runs)
    scores, is_virus = rows["p_virus"].to_numpy(), rows["is_virus"].to_numpy()
    chunks, bases = rows["scored_chunks"].to_numpy(), rows["chunk_bases"].to_numpy()
    sort = last_reached(FIRSTS, chunks, bases)
    genomes = rows["source"].str.split(":").list.first()
    sources = genomes.rank("dense").to_numpy().astype(np.int64) - 1
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for seed in range(_SPLITS):
        random = np.random.default_rng(seed)
        half = (random.permutation(sources.max() + 1) % 2)[sources] == 0
        fitted = fit(*(x[half] for x in (scores, chunks, bases, is_virus, sources)))
        calibration = Calibration(
            lines=tuple(line.described() for line in fitted.lines), prevalence=PREVALENCE,
            chunk_length=500, frames="all", data="half of the sources", metrics={},
        )  # fmt: skip
        number = line_numbers(calibration, chunks, bases)
        probability = probabilities(calibration, number, scores)
        left = np.flatnonzero(~half)
        for name, said in (("scores", scores), ("probabilities", probability)):
            found[f"{name}: calibration error, log loss"].append(_losses(said, is_virus, left))
        for which in (left[sort[left] == k] for k in np.unique(sort)):
            name = f"from {FIRSTS[sort[which[0]]]}: "
            for of, said in (("scores", scores), ("probabilities", probability)):
                found[f"{name}{of}"].append(_losses(said, is_virus, which))
            for share in _PREVALENCES:
                is_called = at_prevalence(probability[which], PREVALENCE, share) > 0.5
                parts = is_called[is_virus[which]], is_called[~is_virus[which]]
                found[f"{name}called at {share}"].append(tuple(float(x.mean()) for x in parts))
        for prevalence in _PREVALENCES:
            some = _sample(is_virus, left, prevalence, random)
            _few(found, probability[some], is_virus[some], prevalence)
    for name, values in found.items():
        mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        print(f"{name:<48}{np.round(mean, 3)}  sd {np.round(deviation, 3)}")


def _rows(run: Path, labels: Path) -> pl.DataFrame:
    manifest = read_run(run)
    if manifest is None:
        sys.exit(f"{run}: holds no run")
    found, _ = labelled_scores(run, manifest.binding, [labels])
    return found.select("p_virus", "scored_chunks", "chunk_bases", "is_virus", "source")


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
