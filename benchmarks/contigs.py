"""How well records of several chunks are told apart, and what their probabilities are worth.

    python benchmarks/contigs.py DIRECTORY OUT --json found.json

DIRECTORY holds FASTA files named virus* or other*, one a class. Of each class with records that are
long enough, contigs of each length are cut, on either strand; a run and an evaluation for each
length go to OUT.
"""

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import virnucpro
from virnucpro.classify.probability import at_prevalence
from virnucpro.sequences import Nucleotides, Record, SequenceFile

_LENGTHS, _CONTIGS = (1_000, 3_000, 10_000), 200
#: A class is cut where it has so many records of the length, so that it is not one genome's.
_LEAST_RECORDS = 10
_MEASURES = ("auroc", "recall_at_1_percent", "recall_at_5_percent", "recall_at_call",
             "false_positive_rate_at_call", "ece")  # fmt: skip
_SHARES, _THRESHOLD = (0.1, 0.01, 0.001), 0.5


def main() -> None:
    """Cut, predict, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", default="compact")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    classes: dict[str, list[Record]] = {}
    for path in sorted(options.directory.glob("*.fa*")):
        with SequenceFile(str(path)) as file:
            classes[path.name.split(".")[0]] = list(file)
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": str(torch.__version__),
    }
    for length in _LENGTHS:
        fasta, labels = (options.out / f"{length}{end}" for end in (".fasta", ".tsv"))
        write(classes, length, fasta, labels)
        run = options.out / str(length)
        summary = virnucpro.predict(fasta, run, bundle=options.bundle, device="cpu", report=False)
        measured = virnucpro.evaluate(run, labels)
        found |= {"bundle": summary.bundle, "precision": summary.precision}
        found[str(length)] = {
            "chunks": summary.chunks,
            "share of viruses estimated": summary.prevalence,
            **shown(measured),
            "viral, others": called(run, labels, summary.prevalence or 0),
        }
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def write(classes: dict[str, list[Record]], length: int, fasta: Path, labels: Path) -> None:
    """Write contigs of one length, and what they are."""
    drawn = np.random.default_rng(length)
    contigs, truth = [], ["record\tis_virus\tclass\tsource"]
    for kind, records in classes.items():
        long = [record for record in records if len(record.sequence) >= length]
        if len(long) < _LEAST_RECORDS:
            continue
        shares = np.array([len(record.sequence) for record in long])
        for number in range(_CONTIGS):
            record = long[drawn.choice(len(long), p=shares / shares.sum())]
            start = int(drawn.integers(len(record.sequence) - length + 1))
            piece = Nucleotides.join([record.sequence[start : start + length]])
            letters = piece.reverse_text() if drawn.random() < 0.5 else piece.forward_text()
            name, source = f"{kind}_{number:03}", record.id.split("|")
            contigs.append(f">{name}\n{letters}\n")
            genome = source[3] if source[0] == "gi" else source[0]
            truth.append(f"{name}\t{int(kind.startswith('virus'))}\t{kind}\t{genome}")
    fasta.write_text("".join(contigs))
    labels.write_text("\n".join([*truth, ""]))


def shown(measured: Any) -> dict[str, Any]:  # noqa: ANN401 (an Evaluation)
    """Return the figures that are kept, with their intervals."""
    groups = measured.views["scored"]
    overall = groups["overall"]
    kept: dict[str, Any] = {"records": overall.records, "virus": overall.virus}
    for name in _MEASURES:
        estimate = overall.measures[name]
        kept[name] = [round(x, 4) for x in (estimate.value, estimate.low, estimate.high)]
    kept["auroc by class"] = {
        name.removeprefix("class "): [group.sources, round(group.measures["auroc"].value, 4)]
        for name, group in groups.items()
        if name.startswith("class ")
    }
    return kept


def called(run: Path, labels: Path, prevalence: float) -> dict[str, list[int]]:
    """Return how many viral records, and how many others, are said to be viral in which way."""
    table = pl.read_csv(run / "records.tsv", separator="\t").join(
        pl.read_csv(labels, separator="\t"), on="record"
    )
    probability = table["probability"].to_numpy()
    ways = {
        "tier high and call virus": (pl.col("tier") == "high") & (pl.col("call") == "virus"),
        "rollup viral": pl.col("rollup") == "viral",
        "call virus": pl.col("call") == "virus",
        **{
            f"call virus where the share is {share}": pl.lit(
                pl.Series(at_prevalence(probability, prevalence, share) > _THRESHOLD)
            )
            for share in _SHARES
        },
    }
    found = {}
    for way, which in ways.items():
        viral = table.filter(which)["is_virus"]
        found[way] = [int(viral.sum()), int((1 - viral).sum())]
    return found


if __name__ == "__main__":
    main()
