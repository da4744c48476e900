"""Classes of the training data: by the names of files, or by labels."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from virnucpro.errors import InputError, shortened
from virnucpro.sequences.labels import LABEL_NAMES, class_of, label_paths, read_labels
from virnucpro.sequences.reader import STDIN

_CLASS = re.compile(rf"({'|'.join(LABEL_NAMES)})[A-Za-z0-9_-]*")
_NAMING = "a class's name begins with virus or other and holds letters, digits, _ and -"


class Source(NamedTuple):
    """One input file.

    Attributes:
        path: the file, or `-`.
        class_name: class of its records; None if labels give it.
    """

    path: str
    class_name: str | None


class Label(NamedTuple):
    """The label of a record.

    Attributes:
        class_name: its class, which begins with virus or other.
        genome: the genome that it was cut from; empty if unknown.
    """

    class_name: str
    genome: str


def class_sources(inputs: Sequence[str | os.PathLike[str]], notes: list[str]) -> list[Source]:
    """Return the files of the inputs with their classes.

    Args:
        inputs: files and directories of files named after their class (`virus_phage.fa.xz`), and
            `CLASS=FILE` and `CLASS=DIRECTORY`.
        notes: lines for the user; a line on ignored files is appended.

    Raises:
        InputError: an input names no class.
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
        name = class_of(given)
        if not _CLASS.fullmatch(name):
            raise InputError(
                f"{given}: the name tells no class; rename it, write CLASS={given}, or give "
                f"--labels ({_NAMING})"
            )
        yield Source(given, name)


def _class_directory(directory: str, notes: list[str]) -> Iterator[Source]:
    found = {path: class_of(path) for path in files_of(directory)}
    ignored = [Path(path).name for path, name in found.items() if not _CLASS.fullmatch(name)]
    if len(ignored) == len(found):
        raise InputError(f"{directory}: no file is named virus* or other*; {_NAMING}")
    if ignored:
        notes.append(f"{directory}: ignored, no class in the name: {few(ignored)}")
    yield from (Source(path, name) for path, name in found.items() if _CLASS.fullmatch(name))


def files_of(path: str) -> list[str]:
    """Return the visible files of a directory; a path that is not a directory is returned."""
    if not path:
        raise InputError("an input is empty, such as CLASS= without a file; name a file")
    if not Path(path).is_dir():
        return [path]
    files = sorted(str(p) for p in Path(path).iterdir() if p.name[0] != "." and p.is_file())
    if not files:
        raise InputError(f"{path}: the directory holds no file")
    return files


def few(names: Sequence[str], most: int = 5) -> str:
    """List the first names for a message."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shortened(name, 100) for name in names[:most]) + rest


def labels_by_record(labels: str | os.PathLike[str], notes: list[str]) -> dict[str, Label]:
    """Return the label of each record that label files (`sequences.labels`) name.

    A class is named as in files: it begins with its label and holds letters, digits, _ and -.

    Raises:
        InputError: a file cannot be read, or labels contradict each other.
    """
    found = read_labels(label_paths(labels))
    notes += found.notes
    return {
        record: Label(_class_name(is_virus, name or ""), genome or "")
        for record, is_virus, name, genome in found.table.iter_rows()
    }


def _class_name(is_virus: bool, name: str) -> str:  # noqa: FBT001 (a cell of a table)
    label = "virus" if is_virus else "other"
    whole = name if name.startswith(label) else f"{label}_{name}".rstrip("_")
    return re.sub(r"[^A-Za-z0-9_-]", "_", whole)
