"""Accuracy on labelled reads, by class: what the bundle's card and the README quote.

    python benchmarks/accuracy.py READS.fa.gz ... --labels labels.tsv [--bundle compact]

The labels are a table with the columns id, is_virus and class. A read is scored by its p_virus in
records.tsv; one without an open frame has no score and ranks lowest in `AUROC, all`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import virnucpro
from virnucpro.bundles import load_bundle
from virnucpro.training.export import record_metrics
from virnucpro.training.metrics import auroc, recall, threshold_at

FALSE_POSITIVES = 0.05


def measure(scores: pl.DataFrame) -> dict[str, object]:
    """Return the measures of reads with the columns p_virus, is_virus and class."""
    is_virus = scores["is_virus"].cast(pl.Boolean).to_numpy()
    p_virus = scores["p_virus"].to_numpy()
    scored = ~np.isnan(p_virus)
    ranked = np.where(scored, p_virus, -1.0)
    threshold = threshold_at(FALSE_POSITIVES, ranked[~is_virus])
    scored_threshold = threshold_at(FALSE_POSITIVES, p_virus[scored & ~is_virus])
    classes = scores["class"].to_numpy()
    by_class = {}
    for name in sorted(set(classes)):
        of_class = classes == name
        by_class[name] = {
            "reads": int(of_class.sum()),
            "scored": round(float(scored[of_class].mean()), 4),
            "called virus": round(recall(ranked[of_class], 0.5), 4),
            "above 5 % threshold, all reads": round(recall(ranked[of_class], threshold), 4),
            "above 5 % threshold, scored reads": round(
                recall(p_virus[of_class & scored], scored_threshold), 4
            ),
        }
    return {
        "reads": len(scores),
        "scored": round(float(scored.mean()), 4),
        "auroc_all": round(auroc(ranked, is_virus), 4),
        "auroc_scored": round(auroc(p_virus[scored], is_virus[scored]), 4),
        "recall_all": round(recall(ranked[is_virus], threshold), 4),
        "recall_scored": round(recall(p_virus[scored & is_virus], scored_threshold), 4),
        "by_class": by_class,
    }


def main() -> None:
    """Predict each file and print its measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reads", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--bundle", default="compact")
    parser.add_argument("--chunk-length", type=int)
    parser.add_argument("--json", type=Path, help="where to write all of it")
    parser.add_argument(
        "--record", action="store_true", help="write the measures into the bundle's manifest"
    )
    options = parser.parse_args()
    labels = pl.read_csv(options.labels, separator="\t")
    measured = {}
    for path in options.reads:
        with tempfile.TemporaryDirectory() as out:
            virnucpro.predict(path, out, bundle=options.bundle, chunk_length=options.chunk_length)
            records = pl.read_csv(
                Path(out) / "records.tsv", separator="\t", schema_overrides={"p_virus": pl.Float64}
            )
        joined = records.join(labels, left_on="record", right_on="id", how="left")
        joined = joined.with_columns(pl.col("p_virus").fill_null(float("nan")))
        measured[path.name] = found = measure(joined)
        print(
            f"{path.name}: AUROC all {found['auroc_all']}, scored {found['auroc_scored']}; "
            f"scored {found['scored']}; recall at 5 % false positives: "
            f"all {found['recall_all']}, scored {found['recall_scored']}"
        )
        for name, row in found["by_class"].items():  # type: ignore[attr-defined]
            print(f"  {name:<22} " + "  ".join(f"{k} {v}" for k, v in row.items()))
    if options.record:
        top = {
            name: {k: v for k, v in values.items() if isinstance(v, float)}
            for name, values in measured.items()
        }
        record_metrics(load_bundle(options.bundle), top)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
