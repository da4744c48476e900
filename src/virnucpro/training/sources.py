"""Which file holds which class, and what a table of labels says."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from virnucpro.errors import InputError, shortened
from virnucpro.sequences.reader import STDIN
from virnucpro.sequences.tsv import GIVE_LABELS, LABELS, TextTable, open_table, quoted

#: A class's name begins with its label.
LABEL_NAMES = ("virus", "other")
_CLASS = re.compile(rf"({'|'.join(LABEL_NAMES)})[A-Za-z0-9_-]*")
_NAMING = "a class's name begins with virus or other and holds letters, digits, _ and -"


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
    return ", ".join(shortened(name, 100) for name in names[:most]) + rest


def read_labels(path: str | os.PathLike[str]) -> dict[str, Label]:
    """Read a table of labels, plain or compressed (`sequences.tables` says how it is written).

    Columns: `record` or `id`, the first word of the record's header; `is_virus` (1 or 0, true or
    false, yes or no, virus or other), `class`, or both; and, if wanted, `genome` or `source`.

    Raises:
        InputError: when it cannot be read, a column is missing, a line makes no sense or two lines
            say different things of a record.
    """
    labels: dict[str, Label] = {}
    with open_table(path, _fits, "record or id, and is_virus or class") as table:
        columns = _Columns.of(table)
        for line, cells in table:
            where = f"{table.name}, line {line:,}"
            key, label = columns.read(cells, where)
            if labels.setdefault(key, label) != label:
                raise InputError(f"{where}: {key} has another label above; leave one")
    if not labels:
        raise InputError(f"{table.name}: the table has no lines below its header; label records")
    return labels


def _fits(names: Sequence[str]) -> bool:
    return not {"record", "id"}.isdisjoint(names) and not {"is_virus", "class"}.isdisjoint(names)


class _Columns(NamedTuple):
    """The places of the columns of a table of labels; None those it does not have."""

    record: int
    is_virus: int | None
    class_name: int | None
    genome: int | None

    @classmethod
    def of(cls, table: TextTable) -> "_Columns":
        return cls(
            table.first("record", "id") or 0,
            table.first("is_virus"),
            table.first("class"),
            table.first("genome", "source"),
        )

    def read(self, cells: Sequence[str], where: str) -> tuple[str, Label]:
        if not cells[self.record]:
            raise InputError(f"{where}: the id is empty; write it, or leave the line out")
        label = None if self.is_virus is None else _label(cells[self.is_virus], where)
        name = label or "" if self.class_name is None else cells[self.class_name]
        if not _CLASS.fullmatch(name):
            raise InputError(f"{where}: {quoted(name)} cannot be a class; {_NAMING}")
        if label and not name.startswith(label):
            raise InputError(f"{where}: is_virus says {label} and class says {name}; mend one")
        return cells[self.record], Label(name, "" if self.genome is None else cells[self.genome])


def _label(text: str, where: str) -> str:
    is_virus = LABELS.get(text.lower())
    if is_virus is None:
        raise InputError(f"{where}: is_virus is {quoted(text)}; {GIVE_LABELS}")
    return "virus" if is_virus else "other"
