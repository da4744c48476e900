"""Predictions, read from a table and matched with labels by record id."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from virnucpro.errors import InputError
from virnucpro.sequences.labels import read_labels
from virnucpro.sequences.tsv import quoted, read_columns, refuse_cells

#: Values of the column `call`.
CALLS = ("virus", "other", "unscored")
#: Tables that `predict` writes, the second with `--gzip`.
_RECORD_TABLES = ("records.tsv", "records.tsv.gz")


class Matched(NamedTuple):
    """The rows of predictions that have a label.

    Attributes:
        rows: columns `record`, `score`, `probability` (null if there is none), `is_virus`, `class`
            (may be null) and `source`; `call` and `length` if the predictions have them.
        probability_column: the column that `probability` is; None if no column lies in 0 to 1.
        without_label: number of rows of predictions without a label.
        without_prediction: number of labelled records without a prediction.
        label_notes: what the user should know about the labels.
    """

    rows: pl.DataFrame
    probability_column: str | None
    without_label: int
    without_prediction: int
    label_notes: list[str]


def predictions_path(predictions: Path) -> Path:
    """Return the table of records in an output directory of `predict`, or the file itself.

    Raises:
        InputError: the directory holds no such table.
    """
    if not predictions.is_dir():
        return predictions
    found = [predictions / name for name in _RECORD_TABLES if (predictions / name).is_file()]
    if not found:
        raise InputError(f"{predictions}: holds no records.tsv; is its run finished?")
    return found[0]


def matched(predictions: Path, labels: Sequence[Path], score_column: str) -> Matched:
    """Read predictions and labels and match them by record id; a record may have several rows.

    Args:
        predictions: a table with the columns `record` (or `id`) and `score_column`.
        labels: label files (`sequences.labels`).
        score_column: the column that ranks records, higher for viruses.

    Raises:
        InputError: a file cannot be read, labels contradict each other, or nothing matches.
    """
    predicted, probability_column = _predictions(predictions, score_column)
    found = read_labels(labels)
    labelled = found.with_sources
    rows = predicted.join(labelled, on="record", how="inner", maintain_order="left")
    if rows.is_empty():
        examples = f"{quoted(predicted['record'][0])}, {quoted(labelled['record'][0])}"
        raise InputError(f"{predictions}: no record has a label; are ids the same ({examples})?")
    if rows["is_virus"].n_unique() == 1:
        only, missing = ("viral", "other") if rows["is_virus"][0] else ("other", "viral")
        raise InputError(f"{predictions}: all labels are {only}; label some {missing} records too")
    if rows["score"].is_null().all():
        raise InputError(f"{predictions}: no labelled record has a score in {score_column!r}")
    unpredicted = labelled.join(predicted, on="record", how="anti")
    without_label = len(predicted) - len(rows)
    return Matched(rows, probability_column, without_label, len(unpredicted), found.notes)


def _predictions(path: Path, score_column: str) -> tuple[pl.DataFrame, str | None]:
    """Read a table of predictions; return also which column is a probability."""
    optional = {name: (name,) for name in ("probability", "call", "length")}
    table = read_columns(
        path,
        {**optional, score_column: (score_column,), "record": ("record", "id")},
        lambda names: score_column in names and not {"record", "id"}.isdisjoint(names),
        f"record or id, and {score_column}",
    )
    refuse_cells(table, table["record"].is_null(), "record", path)
    score = _numbers(table, score_column, path)
    name, probability = score_column, score
    if "probability" in table.columns and table["probability"].is_not_null().any():
        name, probability = "probability", _numbers(table, "probability", path)
    if not probability.is_between(0, 1).all():
        name, probability = "", probability.clear(len(probability))
    columns = {"record": table["record"], "score": score, "probability": probability}
    if "length" in table.columns:
        columns["length"] = _numbers(table, "length", path)
    if "call" in table.columns:
        is_wrong = ~table["call"].is_in(CALLS).fill_null(value=True)
        refuse_cells(table, is_wrong, "call", path, f"give {', '.join(CALLS)}")
        columns["call"] = table["call"].fill_null("unscored")
    return pl.DataFrame(columns), name or None


def _numbers(table: pl.DataFrame, column: str, path: Path) -> pl.Series:
    """Return a column as numbers; empty cells and NaN are null."""
    numbers = table[column].cast(pl.Float64, strict=False)
    refuse_cells(table, numbers.is_null() & table[column].is_not_null(), column, path)
    return numbers.fill_nan(None)
