"""A sample sheet: which files belong to which sample, checked before anything is written."""

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from virnucpro.errors import DamagedError, InputError
from virnucpro.sequences.inputs import checked_inputs
from virnucpro.sequences.reader import STDIN
from virnucpro.sequences.tsv import encoding_of

if TYPE_CHECKING:
    from _csv import Reader

_DELIMITERS = ("\t", ",", ";")
#: Columns that name files; the last one is the mate of the one before.
_FILES = ("files", "fastq_1", "fastq_2")
#: A sample's name is that of its folder, beside which there are files of all samples.
_NAME = re.compile(
    r"(?!(?:samples|records)\.tsv|run\.json|report\.html)[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
)
#: A larger file is no sheet but sequences given in its place.
_MOST_BYTES = 1 << 24
#: Lines that one error names.
_LINES_NAMED = 5


@dataclass(frozen=True)
class Sample:
    """What the rows of one sample say.

    Attributes:
        name: of the sample and of its folder.
        line: its first line in the sheet.
        files: in the order of the rows.
        mates: two files of pairs each, likewise.
    """

    name: str
    line: int
    files: list[str] = field(default_factory=list)
    mates: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Sheet:
    """A sample sheet.

    Attributes:
        path: of the sheet.
        samples: in the order of their first rows.
        notes: what the user should know of it.
    """

    path: str
    samples: list[Sample]
    notes: list[str]


def read_sheet(path: str | os.PathLike[str]) -> Sheet:
    """Read a sheet and look into every file that it names.

    Cells are parted by tabs, commas or semicolons. The first line names the columns: `sample`, and
    `files` or `fastq_1`, and maybe `fastq_2`. A row names one file, or a pair; rows of the same
    sample belong together. Relative paths start at the sheet's directory.

    Raises:
        InputError: when it cannot be read, a line makes no sense, or a file is missing or is no
            nucleotide FASTA or FASTQ; it names the first such lines.
    """
    sheet = os.fspath(path)
    samples: dict[str, Sample] = {}
    problems: list[str] = []
    lines = _lines(_text(sheet), sheet)
    header = next(lines)[1]
    unused = [name for name in header if name and name not in ("sample", *_FILES)]
    notes = [f"{sheet}: columns ignored: {', '.join(unused)}"] if unused else []
    for line, cells in lines:
        try:
            is_new = _add(samples, _row(header, cells), line, Path(sheet).parent)
        except InputError as error:
            problems.append(f"line {line}: {error}")
        else:
            notes += [] if is_new else [f"{sheet}, line {line}: repeats a line above, taken once"]
    if problems:
        more = len(problems) - _LINES_NAMED
        rest = [f"and {more} more"] if more > 0 else []
        raise InputError(f"{sheet}, {'; '.join(problems[:_LINES_NAMED] + rest)}")
    if not samples:
        raise InputError(f"{sheet}: names no sample; give a line for each below the header")
    return Sheet(sheet, list(samples.values()), notes)


def _text(sheet: str) -> str:
    try:
        with Path(sheet).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode(encoding_of(content))
    except OSError as error:
        raise InputError(f"{sheet}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(
            f"{sheet}: is no table in UTF-8 or UTF-16; save it as CSV or TSV in UTF-8"
        ) from error
    if len(content) > _MOST_BYTES or "\0" in text:
        raise InputError(f"{sheet}: is no sample sheet; give a CSV or TSV file of samples")
    return text


def _lines(text: str, sheet: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of the header and of each line with any."""
    lines: Reader | None = None
    try:
        for delimiter in _DELIMITERS:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            header = [name.strip().lower() for name in next(lines, [])]
            if "sample" in header and not {"files", "fastq_1"}.isdisjoint(header):
                break
        else:
            raise InputError(
                f"{sheet}, line 1: needs columns sample and files (or fastq_1), parted by tabs, "
                "commas or semicolons"
            )
        twice = [name for name in ("sample", *_FILES) if header.count(name) > 1]
        if twice:
            raise InputError(f"{sheet}, line 1: has two columns {twice[0]}; leave one")
        yield 1, header
        for line in lines:
            cells = [cell.strip() for cell in line]
            if any(cells):
                yield lines.line_num, cells
    except csv.Error as error:
        where = f"line {lines.line_num if lines else 1}"
        raise InputError(f"{sheet}, {where}: {error}; fix its quotes") from error


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    if any(cells[len(header) :]):
        raise InputError("has more cells than the header")
    return dict(zip(header, cells, strict=False))


def _add(samples: dict[str, Sample], row: dict[str, str], line: int, folder: Path) -> bool:
    """Add a row to its sample; tell whether it says anything new.

    Raises:
        InputError: when the row makes no sense or its files cannot be read.
    """
    name = row.get("sample", "")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:40]!r} cannot be a sample's folder; give letters, digits, '.', '_' and '-'"
        )
    sample = samples.setdefault(name.lower(), Sample(name, line))
    if sample.name != name:
        raise InputError(f"{name} is written {sample.name} in line {sample.line}; write one")
    alone, first, second = (row.get(column, "") for column in _FILES)
    if bool(alone) == bool(first) or (second and not first):
        raise InputError(f"{name} needs files, or fastq_1 with or without fastq_2")
    if second and first == second:
        raise InputError(f"{first} is under fastq_1 and fastq_2; give the file of each mate")
    paths = [_checked(cell, folder) for cell in (alone or first, second) if cell]
    if paths[0] in sample.files or tuple(paths) in sample.mates:
        return False
    if second:
        sample.mates.append((paths[0], paths[1]))
    else:
        sample.files.append(paths[0])
    return True


def _checked(cell: str, folder: Path) -> str:
    """Return the path of a file that can be read."""
    if cell == STDIN:
        raise InputError("standard input (-) cannot be in a sheet; give a file")
    path = str(folder / cell)
    try:
        checked_inputs(path, "dna")
    except DamagedError:
        return path  # which stops no other sample
    except OSError as error:
        raise InputError(f"{path[:200]}: cannot be read ({error.strerror})") from error
    except InputError as error:
        hint = "; a line names one file" if any(map(str.isspace, cell)) else ""
        raise InputError(f"{error}{hint}") from error
    return path
