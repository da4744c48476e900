"""Reads a sample sheet and checks its files before anything is written."""

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
#: Columns that name files; `fastq_2` holds the mates of `fastq_1`.
_FILES = ("files", "fastq_1", "fastq_2")
#: The name of a sample is also that of its folder, which must not clash with the files of a sheet.
_NAME = re.compile(
    r"(?!(?:samples|records)\.tsv|run\.json|report\.html)[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
)
#: Limit of the size of a sheet; a larger file is probably a sequence file.
_MOST_BYTES = 1 << 24
#: Maximum number of lines named in one error.
_LINES_NAMED = 5


@dataclass(frozen=True)
class Sample:
    """The rows of one sample.

    Attributes:
        name: name of the sample and of its folder.
        line: first line of the sample in the sheet.
        files: files without pairs, in the order of the rows.
        mates: pairs of files with mates 1 and mates 2, in the order of the rows.
    """

    name: str
    line: int
    files: list[str] = field(default_factory=list)
    mates: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Sheet:
    """A sample sheet.

    Attributes:
        path: path of the sheet.
        samples: the samples, in the order of their first rows.
        notes: notes about the sheet for the user.
    """

    path: str
    samples: list[Sample]
    notes: list[str]


def read_sheet(path: str | os.PathLike[str]) -> Sheet:
    """Read a sheet and check the beginning of every file that it names.

    Cells are separated by tabs, commas or semicolons. The first line names the columns: `sample`,
    `files` or `fastq_1`, and optionally `fastq_2`. A row names one file or one pair of files; rows
    of the same sample belong together. Relative paths start at the directory of the sheet.

    Raises:
        InputError: the sheet cannot be read, a line is invalid, or a file is missing or not
            nucleotide sequences in a supported format; the error names the first such lines.
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
            repeat = f"{sheet}, line {line}: repeats an earlier line and is ignored"
            notes += [] if is_new else [repeat]
    if problems:
        more = len(problems) - _LINES_NAMED
        rest = [f"and {more} more"] if more > 0 else []
        raise InputError(f"{sheet}, {'; '.join(problems[:_LINES_NAMED] + rest)}")
    if not samples:
        raise InputError(f"{sheet}: names no sample; add a line for each sample")
    return Sheet(sheet, list(samples.values()), notes)


def _text(sheet: str) -> str:
    try:
        with Path(sheet).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode(encoding_of(content))
    except OSError as error:
        raise InputError(
            f"{sheet}: cannot be read ({error.strerror}); give a readable file"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{sheet}: is not a table in UTF-8 or UTF-16; save it as CSV or TSV in UTF-8"
        ) from error
    if len(content) > _MOST_BYTES or "\0" in text:
        raise InputError(f"{sheet}: is not a sample sheet; give a CSV or TSV file of samples")
    return text


def _lines(text: str, sheet: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of the header and of each line that is not empty."""
    lines: Reader | None = None
    try:
        for delimiter in _DELIMITERS:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            header = [name.strip().lower() for name in next(lines, [])]
            if "sample" in header and not {"files", "fastq_1"}.isdisjoint(header):
                break
        else:
            raise InputError(
                f"{sheet}, line 1: needs columns sample and files (or fastq_1), separated by tabs, "
                "commas or semicolons"
            )
        twice = [name for name in ("sample", *_FILES) if header.count(name) > 1]
        if twice:
            raise InputError(f"{sheet}, line 1: has two columns {twice[0]}; keep one")
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
    """Add a row to its sample; return whether it adds files.

    Raises:
        InputError: the row is invalid, or its files cannot be read.
    """
    name = row.get("sample", "")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:40]!r} cannot name a sample's folder; use letters, digits, '.', '_' and '-'"
        )
    sample = samples.setdefault(name.lower(), Sample(name, line))
    if sample.name != name:
        raise InputError(f"{name} is spelled {sample.name} on line {sample.line}; use one spelling")
    alone, first, second = (row.get(column, "") for column in _FILES)
    if bool(alone) == bool(first) or (second and not first):
        raise InputError(f"{name} needs files, or fastq_1 with or without fastq_2")
    if second and first == second:
        raise InputError(f"{first} is in both fastq_1 and fastq_2; give the file of each mate")
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
        return path  # only this sample fails later; the others are not stopped
    except OSError as error:
        raise InputError(
            f"{path[:200]}: cannot be read ({error.strerror}); give a readable file"
        ) from error
    except InputError as error:
        hint = "; a line names one file" if any(map(str.isspace, cell)) else ""
        raise InputError(f"{error}{hint}") from error
    return path
