"""Labels: which records are viral. One reader for `train`, `evaluate` and `calibrate`.

A label file is a table (`sequences.tsv` says how it may be written) or a sequence file named after
its class, such as `virus_phage.fa.gz`: all of its records are of that class. Columns of a table:

* `record`, else `id`: first word of the record's header.
* `is_virus`: 1 or 0, true or false, yes or no, virus or other, in any case.
* `class`: optional if there is `is_virus`. Without `is_virus` it begins with `virus` or `other`,
  which is then the label. With `is_virus` it must not begin with the opposite.
* `source`, else `genome`: optional; the genome that the record was cut from.

A record may have several labels if they agree on `is_virus`; the first one counts.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from virnucpro.errors import InputError, reading
from virnucpro.sequences.decompression import open_content
from virnucpro.sequences.reader import SequenceFile
from virnucpro.sequences.tsv import LINE, quoted, read_columns, refuse_cells

#: What the name of a class, and of a file of one class, begins with -> whether it is viral.
LABEL_NAMES = {"virus": True, "other": False}
#: How `is_virus` is written, in lower case.
_IS_VIRUS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "virus"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "other"), False),
}
_COLUMNS = {
    "record": ("record", "id"),
    "is_virus": ("is_virus",),
    "class": ("class",),
    "source": ("source", "genome"),
}


class Labels(NamedTuple):
    """The labels of some files.

    Attributes:
        table: one row a record, in the order of the files: `record`, `is_virus`, `class` and
            `source`; the last two may be null.
        notes: lines for the user.
    """

    table: pl.DataFrame
    notes: list[str]

    @property
    def with_sources(self) -> pl.DataFrame:
        """The table, in which a record without a source is its own."""
        return self.table.with_columns(pl.col("source").fill_null(pl.col("record")))


def label_of(name: str) -> bool | None:
    """Return whether a class is viral by its name; None if the name does not tell."""
    return next((y for label, y in LABEL_NAMES.items() if name.startswith(label)), None)


def class_of(path: str | os.PathLike[str]) -> str:
    """Return the class that a file is named after: its name up to the first dot."""
    return Path(path).name.split(".")[0]


def label_paths(labels: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[Path]:
    """Return the label files among files and directories of class-named sequence files.

    Raises:
        InputError: there are none.
    """
    paths: list[Path] = []
    for path in map(Path, [labels] if isinstance(labels, str | os.PathLike) else labels):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        if path.is_dir():
            inside = [file for file in inside if label_of(file.name) is not None]
        if not inside:
            raise InputError(f"{path}: holds no sequence files named virus* or other*")
        paths += inside
    if not paths:
        raise InputError("no labels: give a table, or sequence files named virus* and other*")
    return paths


def read_labels(paths: Sequence[Path]) -> Labels:
    """Read label files, plain or compressed.

    Raises:
        InputError: a file cannot be read, or labels contradict each other.
    """
    labels = pl.concat([_read(path).with_columns(file=pl.lit(str(path))) for path in paths])
    first = labels.unique("record", keep="first", maintain_order=True)
    both = labels.join(first, on="record", maintain_order="left", suffix=" before")
    contradicted = both.filter(pl.col("is_virus") != pl.col("is_virus before"))
    if len(contradicted):
        row = contradicted.row(0, named=True)
        raise InputError(
            f"{_place(row, '')}: record {quoted(row['record'])} is labelled both virus and other, "
            f"before in {_place(row, ' before')}; remove one of the labels"
        )
    table = first.select(*_COLUMNS)
    further = labels.select(*_COLUMNS).n_unique() - len(table)
    note = "labels give a record another class or source than an earlier label, which counts"
    return Labels(table, [f"{further:,} {note}"] if further else [])


def _place(row: Mapping[str, Any], which: str) -> str:
    file, line = row[f"file{which}"], row[f"{LINE}{which}"]
    return f"{file}" if line is None else f"{file}, line {line:,}"


def _read(path: Path) -> pl.DataFrame:
    """Return record, is_virus, class, source and, of a table, the line of each label."""
    if not path.is_file():  # a pipe, which can be read once
        return _read_table(path)
    with reading(path, "give a table or sequences"), open_content(str(path)) as content:
        start = content.read(1)
    return _read_sequences(path) if start in (b">", b"@") else _read_table(path)


def _read_sequences(path: Path) -> pl.DataFrame:
    name = class_of(path)
    is_virus = label_of(name)
    if is_virus is None:
        raise InputError(f"{path}: the name does not tell the label; name it virus* or other*")
    with SequenceFile(str(path)) as file:
        ids = [record.id for record in file]
    return pl.select(
        pl.Series("record", ids, pl.String),
        pl.lit(is_virus).alias("is_virus"),
        pl.lit(name).alias("class"),
        pl.lit(None, pl.String).alias("source"),
        pl.lit(None, pl.Int64).alias(LINE),
    )


def _read_table(path: Path) -> pl.DataFrame:
    table = read_columns(path, _COLUMNS, _fits, "record or id, and is_virus or class")
    refuse_cells(table, table["record"].is_null(), "record", path)
    optional = [name for name in ("class", "source") if name not in table.columns]
    table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in optional)
    begins = table["class"].str.extract(f"^({'|'.join(LABEL_NAMES)})")
    by_class = begins.replace_strict(LABEL_NAMES, default=None, return_dtype=pl.Boolean)
    if "is_virus" not in table.columns:
        to_do = "begin it with virus or other, or add a column is_virus"
        refuse_cells(table, by_class.is_null(), "class", path, to_do)
        is_virus = by_class
    else:
        words = table["is_virus"].str.to_lowercase()
        is_virus = words.replace_strict(_IS_VIRUS, default=None, return_dtype=pl.Boolean)
        to_do = "give 1 or 0, true or false, yes or no, virus or other"
        refuse_cells(table, is_virus.is_null(), "is_virus", path, to_do)
        opposite = (by_class != is_virus).fill_null(value=False)
        refuse_cells(table, opposite, "class", path, "is_virus says the opposite, so fix one")
    return table.with_columns(is_virus=is_virus).select(*_COLUMNS, LINE)


def _fits(names: Sequence[str]) -> bool:
    return not {"record", "id"}.isdisjoint(names) and not {"is_virus", "class"}.isdisjoint(names)
