"""What `virnucpro evaluate` found, as tables of a bundle's card and as metrics in its manifest.

    virnucpro predict dev_500.fa.gz -o dev500 && virnucpro evaluate dev500 labels.tsv -o found500
    python benchmarks/card.py BUNDLE found500 found300 found150

Each directory is named by its command's input in the metrics. What `virnucpro calibrate` made of
the same bundle gives it a calibration with `--calibrated`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from virnucpro.bundles import load_bundle
from virnucpro.training.export import record_calibration, record_metrics

#: Measure -> heading.
_COLUMNS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "recall_at_1_percent": "recall at 1 %",
    "recall_at_5_percent": "recall at 5 %",
    "unscored": "unscored",
}
#: Of a class of viruses, and of others: what is found viral.
_FOUND = {True: "recall", False: "false_positive_rate"}
_AT = ("at_1_percent", "at_5_percent", "at_call")


def overall_row(name: str, views: dict[str, Any]) -> str:
    """Return a line of the first table."""
    measures = views["all"]["overall"]["measures"]
    cells = [_with_interval(measures[key]) for key in _COLUMNS if key != "unscored"]
    error = views["scored"]["overall"]["measures"]["ece"]["value"]
    return " | ".join([f"| {name}", *cells, f"{error:.3f} |"])


def class_rows(views: dict[str, Any]) -> list[str]:
    """Return the lines of a table of classes."""
    rows = []
    for key, group in views["all"].items():
        if not key.startswith("class "):
            continue
        measures, kind = group["measures"], _FOUND[group["virus"] > 0]
        shares = [f"{measures[f'{kind}_{at}']['value']:.1%}" for at in _AT]
        rows.append(" | ".join([f"| {key[6:]}", *shares, f"{measures['auroc']['value']:.3f} |"]))
    return rows


def metrics_of(views: dict[str, Any]) -> dict[str, float]:
    """Return what the manifest keeps."""
    measures = views["all"]["overall"]["measures"]
    found = {key: measures[key]["value"] for key in _COLUMNS}
    found["ece"] = views["scored"]["overall"]["measures"]["ece"]["value"]
    return {key: round(value, 4) for key, value in found.items()}


def _with_interval(measure: dict[str, float]) -> str:
    return f"{measure['value']:.3f} ({measure['low']:.3f}-{measure['high']:.3f})"


def main() -> None:
    """Print the tables and write the metrics."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("evaluations", type=Path, nargs="+")
    parser.add_argument("--calibrated", type=Path, help="what virnucpro calibrate made of BUNDLE")
    options = parser.parse_args()
    found = {
        path.name: json.loads((path / "evaluation.json").read_text())["views"]
        for path in options.evaluations
    }
    headings = [x for key, x in _COLUMNS.items() if key != "unscored"]
    print(f"| reads | {' | '.join(headings)} | calibration error |")
    print("|---" * (len(headings) + 2) + "|")
    print("\n".join(overall_row(name, views) for name, views in found.items()))
    for name, views in found.items():
        print(f"\n{name}\n\n| class | above 1 % | above 5 % | called virus | AUROC |")
        print("|---" * 5 + "|")
        print("\n".join(class_rows(views)))
    bundle = load_bundle(options.bundle)
    bundle = record_metrics(bundle, {name: metrics_of(views) for name, views in found.items()})
    if options.calibrated is not None:
        record_calibration(bundle, load_bundle(options.calibrated))


if __name__ == "__main__":
    main()
