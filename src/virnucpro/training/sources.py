"""Which file holds which class, and what a table of labels says."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from xopen import xopen

from virnucpro.errors import InputError
from virnucpro.sequences.reader import STDIN

#: A class's name begins with its label.
LABELS = ("virus", "other")
_CLASS = re.compile(rf"({'|'.join(LABELS)})[A-Za-z0-9_-]*")
_NAMING = "a class's name begins with virus or other and holds letters, digits, _ and -"
_LABELS = {
    **dict.fromkeys(("1", "true", "virus"), "virus"),
    **dict.fromkeys(("0", "false", "other"), "other"),
}


class Source(NamedTuple):
    """One input file.

    Attributes:
        path: the file, or `-`.
        class_name: class of its records; None where a table of labels says.
    """

    path: str
    class_name: str | None


class Label(NamedTuple):
    """What a table says of a record.

    Attributes:
        class_name: its class.
        genome: where it is from; empty where the table does not say.
    """

    class_name: str
    genome: str


def is_virus_class(name: str) -> bool:
    """Tell whether a class is of viruses."""
    return name.startswith("virus")


def class_sources(inputs: Sequence[str | os.PathLike[str]], notes: list[str]) -> list[Source]:
    """Return the files of inputs that name their classes.

    Args:
        inputs: files and directories of files named after their class (`virus_phage.fa.xz`), and
            `CLASS=FILE` or `CLASS=DIRECTORY`.
        notes: gets a line on what is ignored.

    Raises:
        InputError: when an input names no class.
    """
    return [source for given in inputs for source in _sources_of(os.fspath(given), notes)]


def _sources_of(given: str, notes: list[str]) -> Iterator[Source]:
    name, equals, path = given.partition("=")
    if Path(given).is_dir():
        yield from _class_directory(given, notes)
    elif equals and not Path(given).exists():
        if not _CLASS.fullmatch(name):
            raise InputError(f"{given}: {name!r} cannot be a class; {_NAMING}")
        yield from (Source(file, name) for file in files_of(path))
    elif given != STDIN and not Path(given).exists():
        raise InputError(
            f"{given}: cannot be read (No such file or directory); give a file that is there"
        )
    else:
        name = _class_of(given)
        if not _CLASS.fullmatch(name):
            raise InputError(
                f"{given}: the name tells no class; rename it, write CLASS={given} or give labels "
                f"({_NAMING})"
            )
        yield Source(given, name)


def _class_of(path: str) -> str:
    return Path(path).name.split(".")[0]


def _class_directory(directory: str, notes: list[str]) -> Iterator[Source]:
    found = {path: _class_of(path) for path in files_of(directory)}
    ignored = [Path(path).name for path, name in found.items() if not _CLASS.fullmatch(name)]
    if len(ignored) == len(found):
        raise InputError(f"{directory}: no file is named virus* or other*; {_NAMING}")
    if ignored:
        notes.append(f"{directory}: ignored, no class in the name: {few(ignored)}")
    yield from (Source(path, name) for path, name in found.items() if _CLASS.fullmatch(name))


def files_of(path: str) -> list[str]:
    """Return the visible files of a directory, or the path itself where it is none."""
    if not path:
        raise InputError("an input is empty, as CLASS= without a file; name a file")
    if not Path(path).is_dir():
        return [path]
    files = sorted(str(p) for p in Path(path).iterdir() if p.name[0] != "." and p.is_file())
    if not files:
        raise InputError(f"{path}: the directory holds no file")
    return files


def few(names: Sequence[str], most: int = 5) -> str:
    """List names for a message, the first ones only."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


@contextmanager
def open_content(path: str) -> Iterator[BinaryIO]:
    """Open a file, its compression undone.

    It is opened by number, so that xopen has its content and no name to judge by.
    """
    with (
        os.fdopen(os.open(path, os.O_RDONLY), "rb") as stored,
        xopen(stored, "rb", threads=0) as content,
    ):
        yield content


def read_labels(path: str | os.PathLike[str]) -> dict[str, Label]:
    """Read a table of labels: tab-separated, with a header line, plain or compressed.

    Columns: `record` or `id`, the first word of the record's header; `is_virus` (1 or 0, true or
    false, virus or other), `class`, or both; and, if wanted, `genome` or `source`.

    Raises:
        InputError: when it cannot be read, a column is missing, a line makes no sense or two lines
            say different things of a record.
    """
    name = os.fspath(path)
    try:
        with open_content(name) as content, TextIOWrapper(content, "utf-8-sig", newline="") as file:
            labels = _labels_in(file, name)
    except InputError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read as a table of labels ({reason})") from error
    if not labels:
        raise InputError(f"{name}: the table has no lines below its header; give one with records")
    return labels


def _labels_in(file: TextIO, name: str) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = _Columns.of(rows.fieldnames or [], name)
    for row in rows:
        where = f"{name}, line {rows.line_num}"
        key, label = columns.read(row, where)
        if labels.setdefault(key, label) != label:
            raise InputError(f"{where}: {key} has another label above; leave one")
    return labels


class _Columns(NamedTuple):
    """The columns of a table of labels; None those it does not have."""

    record: str
    is_virus: str | None
    class_name: str | None
    genome: str | None

    @classmethod
    def of(cls, names: Sequence[str], path: str) -> "_Columns":
        def first(*wanted: str) -> str | None:
            return next((name for name in wanted if name in names), None)

        record, is_virus, class_name = first("record", "id"), first("is_virus"), first("class")
        if record is None or not (is_virus or class_name):
            raise InputError(
                f"{path}, line 1: needs tab-separated columns record or id, and is_virus or class; "
                f"it has {few(names) or 'none'}"
            )
        return cls(record, is_virus, class_name, first("genome", "source"))

    def read(self, row: dict[str, str | None], where: str) -> tuple[str, Label]:
        if None in row or None in row.values():
            raise InputError(f"{where}: has another number of columns than the header")
        values = {name: (value or "").strip() for name, value in row.items()}
        if not values[self.record]:
            raise InputError(f"{where}: the {self.record} is empty")
        label = self._label(values, where)
        name = values[self.class_name] if self.class_name else label or ""
        if not _CLASS.fullmatch(name):
            raise InputError(f"{where}: {name!r} cannot be a class; {_NAMING}")
        if label and not name.startswith(label):
            raise InputError(f"{where}: is_virus says {label} and class says {name}")
        return values[self.record], Label(name, values[self.genome] if self.genome else "")

    def _label(self, values: dict[str, str], where: str) -> str | None:
        if self.is_virus is None:
            return None
        label = _LABELS.get(values[self.is_virus].lower())
        if label is None:
            raise InputError(
                f"{where}: is_virus is {values[self.is_virus]!r}; give 1 or 0, true or false"
            )
        return label
