"""Predictions and labels as tables, read from what a user has and matched by record id."""

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from virnucpro.errors import InputError, reading
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.streams import open_content
from virnucpro.sequences.tsv import GIVE_LABELS, LABELS, open_table, quoted

#: What `call` may be.
CALLS = ("virus", "other", "unscored")
#: Names of the column of record ids.
_ID_COLUMNS = ("record", "id")
#: Names of the column of the genome that a record was cut from.
_SOURCE_COLUMNS = ("source", "genome")
#: Columns that are read where they are there.
_KNOWN_COLUMNS = ("probability", "call", "length", "class", *_SOURCE_COLUMNS)
#: Rows that are read at a time.
_BATCH = 100_000
#: Column of the line that a row is of; no header can hold a tab.
_LINE = "\t"
#: What `predict` writes, plain or with `--gzip`.
_RECORD_TABLES = ("records.tsv", "records.tsv.gz")


class Matched(NamedTuple):
    """The rows of predictions that have a label.

    Attributes:
        rows: columns `record`, `score` and `probability` (null where there is none), `is_virus`,
            `class` (may be null), `source`, and, where the predictions have them, `call`, `length`.
        probability_column: which column `probability` is; None where no column lies in 0 to 1.
        without_label: rows of predictions without a label.
        without_prediction: labelled records without a prediction.
        further_labels: labels that give a record another class or source than one before.
    """

    rows: pl.DataFrame
    probability_column: str | None
    without_label: int
    without_prediction: int
    further_labels: int


def predictions_path(predictions: Path) -> Path:
    """Return the table of an output directory of `predict`, or the file itself.

    Raises:
        InputError: when the directory holds none.
    """
    if not predictions.is_dir():
        return predictions
    found = [predictions / name for name in _RECORD_TABLES if (predictions / name).is_file()]
    if not found:
        raise InputError(f"{predictions}: holds no records.tsv; is its run finished?")
    return found[0]


def label_paths(labels: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[Path]:
    """Return the files of labels: tables, or sequences named by their label.

    Raises:
        InputError: when there are none.
    """
    given = [labels] if isinstance(labels, str | os.PathLike) else list(labels)
    paths: list[Path] = []
    for path in map(Path, given):
        if not path.is_dir():
            paths.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if _label_of(file) is not None]
        if not inside:
            raise InputError(f"{path}: holds no sequence files named virus* or other*")
        paths += inside
    if not paths:
        raise InputError("no labels: give a table, or sequence files named virus* and other*")
    return paths


def matched(predictions: Path, labels: Sequence[Path], score_column: str) -> Matched:
    """Read both and match them by record id; every row of predictions counts.

    Args:
        predictions: a table with the columns `record` (or `id`) and `score_column`.
        labels: tables with the columns `record` (or `id`) and `is_virus`, perhaps `class` and
            `source`; or sequence files named virus* or other*.
        score_column: the column that ranks records, higher for viruses.

    Raises:
        InputError: when one cannot be read, labels contradict each other, or nothing matches.
    """
    predicted, probability_column = _predictions(predictions, score_column)
    given = _given(labels)
    labelled = _unique(given)
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
    return Matched(
        rows, probability_column, len(predicted) - len(rows), len(unpredicted),
        given.n_unique() - len(labelled),
    )  # fmt: skip


def labelled_records(labels: Sequence[Path]) -> pl.DataFrame:
    """Return record, is_virus, class (may be null) and source, a row a record.

    Raises:
        InputError: when one cannot be read, or labels contradict each other.
    """
    return _unique(_given(labels))


def _given(labels: Sequence[Path]) -> pl.DataFrame:
    """Return what all files of labels say, a row a label."""
    return pl.concat([_labels(path) for path in labels])


def _predictions(path: Path, score_column: str) -> tuple[pl.DataFrame, str | None]:
    """Read a table of predictions; also say which column is a probability."""
    table = _table(path, score_column)
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
        _refuse(table, ~table["call"].is_in(CALLS).fill_null(value=True), "call", path)
        columns["call"] = table["call"].fill_null("unscored")
    return pl.DataFrame(columns), name or None


def _labels(path: Path) -> pl.DataFrame:
    """Return record, is_virus, class and source of a table or a sequence file."""
    with reading(path, "give a table or sequences"), open_content(str(path)) as content:
        start = content.read(1)
    if start in (b">", b"@"):
        return _labels_of_sequences(path)
    table = _table(path, "is_virus")
    words = table["is_virus"].str.to_lowercase()
    is_virus = words.replace_strict(LABELS, default=None, return_dtype=pl.Boolean)
    _refuse(table, is_virus.is_null(), "is_virus", path)
    return table.select(
        "record",
        is_virus.alias("is_virus"),
        _first_of(table, ("class",)).alias("class"),
        _first_of(table, _SOURCE_COLUMNS).alias("source"),
    )


def _first_of(table: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    """Return the first of some columns that is there, or nothing for each row."""
    return next((pl.col(n) for n in names if n in table.columns), pl.lit(None, pl.String))


def _labels_of_sequences(path: Path) -> pl.DataFrame:
    is_virus = _label_of(path)
    if is_virus is None:
        raise InputError(f"{path}: the name does not say its label; call it virus* or other*")
    with SequenceFile(str(path)) as file:
        ids = pl.Series("record", [record.id for record in file], dtype=pl.String)
    return ids.to_frame().with_columns(
        is_virus=pl.lit(is_virus),
        **{"class": pl.lit(path.name.split(".")[0])},
        source=pl.lit(None, pl.String),
    )


def _label_of(path: Path) -> bool | None:
    """Return the label that a file's name begins with."""
    prefixes = {"virus": True, "other": False}
    return next((y for name, y in prefixes.items() if path.name.startswith(name)), None)


def _unique(labels: pl.DataFrame) -> pl.DataFrame:
    """Keep the first label of each record; its source is the record itself by default."""
    both = labels.group_by("record", maintain_order=True).agg(pl.col("is_virus").n_unique())
    contradicted = both.filter(pl.col("is_virus") > 1)["record"]
    if len(contradicted):
        raise InputError(
            f"record {quoted(contradicted[0])} is labelled both virus and other; give one"
        )
    first = labels.unique("record", keep="first", maintain_order=True)
    return first.with_columns(pl.col("source").fill_null(pl.col("record")))


def _table(path: Path, needed: str) -> pl.DataFrame:
    """Read the columns that are known of a table, as text; its column of ids becomes `record`.

    Cells are null where they are empty.
    """

    def fits(names: Sequence[str]) -> bool:
        return needed in names and not set(_ID_COLUMNS).isdisjoint(names)

    with open_table(path, fits, f"record or id, and {needed}") as table:
        known = dict.fromkeys((needed, *_KNOWN_COLUMNS))
        places = {name: place for name in known if (place := table.first(name)) is not None}
        places["record"] = table.first(*_ID_COLUMNS) or 0
        rows, parts = iter(table), [_part([], places)]
        while some := list(islice(rows, _BATCH)):
            parts.append(_part(some, places))
    found = pl.concat(parts)
    if found.is_empty():
        raise InputError(f"{path}: has a header line only; give one with records")
    _refuse(found, found["record"].is_null(), "record", path)
    return found


def _part(rows: Sequence[tuple[int, list[str]]], places: dict[str, int]) -> pl.DataFrame:
    columns = {
        name: pl.Series([cells[place] or None for _, cells in rows], dtype=pl.String)
        for name, place in places.items()
    }
    return pl.DataFrame(columns | {_LINE: pl.Series([line for line, _ in rows], dtype=pl.Int64)})


def _numbers(table: pl.DataFrame, column: str, path: Path) -> pl.Series:
    """Return a column as numbers, null where it is empty or not a number."""
    numbers = table[column].cast(pl.Float64, strict=False)
    _refuse(table, numbers.is_null() & table[column].is_not_null(), column, path)
    return numbers.fill_nan(None)


def _refuse(table: pl.DataFrame, is_wrong: pl.Series, column: str, path: Path) -> None:
    """Name the first line whose value in a column is wrong."""
    wrong = is_wrong.arg_true()
    if len(wrong):
        value = table[column][int(wrong[0])]
        what = "is empty" if value is None else f"is {quoted(value)}"
        known = {"is_virus": GIVE_LABELS, "call": f"give {', '.join(CALLS)}"}
        to_do = known.get(column, "mend the line, or leave it out")
        line = table[_LINE][int(wrong[0])]
        raise InputError(f"{path}, line {line:,}: {column} {what}; {to_do}")
