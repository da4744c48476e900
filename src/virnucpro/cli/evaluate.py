"""`virnucpro evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virnucpro.cli import parameters
from virnucpro.errors import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from virnucpro.evaluation.result import Estimate, Evaluation, Group

#: Width of the tables in characters if standard output is not a terminal.
_FILE_WIDTH = 150
#: Metric -> its name in the table.
_OVERALL = {
    "auroc": "AUROC",
    "auprc": "AUPRC (average precision)",
    "recall_at_1_percent": "recall at 1 % false positives",
    "recall_at_5_percent": "recall at 5 % false positives",
    "precision_at_call": "precision at the call",
    "recall_at_call": "recall at the call",
    "f1_at_call": "F1 at the call",
    "mcc_at_call": "MCC at the call",
    "false_positive_rate_at_call": "false positives at the call",
    "precision_at_half": "precision at one half",
    "recall_at_half": "recall at one half",
    "f1_at_half": "F1 at one half",
    "mcc_at_half": "MCC at one half",
    "false_positive_rate_at_half": "false positives at one half",
    "ece": "expected calibration error",
    "ece_equal_mass": "the same, bins of equal number",
    "brier": "Brier score",
    "unscored": "share unscored",
}
_DECISIONS = {"at_call": "at the call", "at_half": "at one half"}


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Output directory of predict, or a table of records and scores.",
        ),
    ],
    labels: parameters.Labels,
    out: Annotated[
        Path | None,
        parameters.out_option("Directory for JSON, TSV and pictures (default: no files)."),
    ] = None,
    bootstrap: Annotated[
        int,
        typer.Option(
            help="Number of resamples of source genomes for the intervals; 0 for no intervals.",
            min=0,
        ),
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 1,
    score_column: Annotated[
        str, typer.Option(help="Column that ranks records, higher for viruses.")
    ] = "p_virus",
    quiet: parameters.Quiet = False,
    _config: parameters.Config = None,
) -> None:
    """Measure how good predictions are, from labels of the same records."""
    from virnucpro.evaluation.api import evaluate as compare  # noqa: PLC0415
    from virnucpro.system.terminal import Terminal  # noqa: PLC0415 (Rich, which --help does without)

    console = Terminal(_FILE_WIDTH, soft_wrap=True, quiet=quiet)
    found = compare(
        predictions, labels, out, score_column=score_column, bootstrap=bootstrap, seed=seed
    )
    console.print(_first_line(found))
    console.print(_overall_table(found))
    for view in found.views:
        for table in (_class_table(found, view), _length_table(found, view)):
            if table.row_count:
                console.print(table)
    for note in found.notes:
        console.print(f"note: {one_line(note)}")
    if out is not None:
        console.print(f"written to {out}")


def _first_line(found: "Evaluation") -> str:
    group, asked = found.views["all"]["overall"], found.asked
    probability = found.probability_column or "none"
    return (
        f"{group.records:,} records of {group.sources:,} sources, {group.virus:,} of them viral; "
        f"score: {asked.score_column}, probability: {probability}; 95 % intervals from "
        f"{asked.bootstrap:,} resamples of sources"
    )


def _overall_table(found: "Evaluation") -> "Table":
    table = _table("", "", *(f"{view} records" for view in found.views))
    groups = [view["overall"].measures for view in found.views.values()]
    for metric, name in _OVERALL.items():
        if _decision(found) == "at_call" and _says_the_same(groups, metric):
            continue
        if any(metric in measures for measures in groups):
            table.add_row(name, *(str(m[metric]) if metric in m else "" for m in groups))
    return table


def _decision(found: "Evaluation") -> str:
    """Return which calls the tables of groups show."""
    measures = found.views["all"]["overall"].measures
    return "at_call" if "recall_at_call" in measures else "at_half"


def _says_the_same(groups: "list[dict[str, Estimate]]", metric: str) -> bool:
    """Return whether a metric at one half equals that at the call in every view."""
    twin = metric.replace("at_half", "at_call")
    return twin != metric and all(m.get(metric) == m.get(twin) for m in groups)


def _class_table(found: "Evaluation", view: str) -> "Table":
    """Return a table of classes: recall of viral ones, false positive rate of others."""
    decision = _decision(found)
    table = _table(
        f"{view} records by class: share found viral at 1 % and 5 % false positives overall and "
        f"{_DECISIONS[decision]}; AUROC against all of the other label",
        "class", "records", "sources", "unscored", "at 1 %", "at 5 %", _DECISIONS[decision],
        "AUROC",
    )  # fmt: skip
    for name, group in found.views[view].items():
        if not name.startswith("class "):
            continue
        what = "recall" if group.virus else "false_positive_rate"
        shares = [f"{what}_{at}" for at in ("at_1_percent", "at_5_percent", decision)]
        counts = (f"{group.records:,}", f"{group.sources:,}")
        table.add_row(name.removeprefix("class "), *counts, *_cells(group, *shares, "auroc"))
    return table


def _length_table(found: "Evaluation", view: str) -> "Table":
    decision = _decision(found)
    table = _table(
        f"{view} records by length",
        "bases", "records", "virus", "unscored", "AUROC", "AUPRC", "recall at 5 %",
        f"MCC {_DECISIONS[decision]}",
    )  # fmt: skip
    for name, group in found.views[view].items():
        if not name.startswith("length "):
            continue
        counts = (f"{group.records:,}", f"{group.virus:,}")
        metrics = ("auroc", "auprc", "recall_at_5_percent", f"mcc_{decision}")
        table.add_row(name.removeprefix("length "), *counts, *_cells(group, *metrics))
    return table


def _cells(group: "Group", *metrics: str) -> list[str]:
    """Return the unscored share without its interval, and metrics with theirs."""
    unscored = group.measures.get("unscored")
    shown = "" if unscored is None else f"{unscored.value:.3f}"
    return [shown, *(str(group.measures.get(metric, "")) for metric in metrics)]


def _table(title: str, first: str, *names: str) -> "Table":
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right")
    return table
