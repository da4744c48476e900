"""Tables that users write: labels and scores, as spreadsheets, R and pandas save them.

Cells are separated by tabs, commas, semicolons or spaces and may be quoted. Lines may end as on
Unix, Windows or an old Mac. The text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Row
numbers that R writes are skipped.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from typing import TextIO

import polars as pl

from virnucpro.errors import InputError, printable, reading, shortened
from virnucpro.sequences.decompression import open_content

_DELIMITERS = ("\t", ",", ";", " ")
_ENCODINGS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
#: Limits: characters of a line, characters of a table, lines of a table.
_LONGEST_LINE, _LONGEST, _MOST_LINES = 1 << 20, 1 << 30, 20_000_000
#: Column names that a message lists, and characters of a cell that it quotes.
_NAMED, _QUOTED = 8, 60
#: Rows read at a time.
_BATCH = 100_000
#: Column with the line number of each row; the name cannot clash, as no header cell holds a tab.
LINE = "\t"

Cells = list[str]


@dataclass
class TextTable:
    """An open table.

    Attributes:
        name: path of the file, for messages.
        columns: names of the columns.
    """

    name: str
    columns: list[str]
    _rows: Iterator[tuple[int, Cells]]
    _has_quotes: bool

    def __iter__(self) -> Iterator[tuple[int, Cells]]:
        """Yield the line number and the cells of each row; cells are stripped of spaces."""
        width, before = len(self.columns), None
        for number, cells in self._rows:
            if not any(cells):
                continue
            if before is None:  # R writes row numbers in a column without a name
                is_more = len(cells) == width + 1 and (self._has_quotes or cells[-1] != "")
                before = int(is_more and cells[0].isdigit())
            del cells[:before]
            while len(cells) > width and not cells[-1]:
                cells.pop()
            if len(cells) != width:
                raise InputError(
                    f"{self.name}, line {number:,}: has {len(cells) + before:,} cells, but the "
                    f"header has {width:,}; write as many (in R with row.names = FALSE)"
                )
            yield number, cells

    def first(self, *names: str) -> int | None:
        """Return the index of the first of these columns that exists; None if none does.

        Raises:
            InputError: two columns have that name.
        """
        name = next((name for name in names if name in self.columns), None)
        if name is None:
            return None
        if self.columns.count(name) > 1:
            raise InputError(f"{self.name}, line 1: has two columns {name}; keep one")
        return self.columns.index(name)


def encoding_of(start: bytes) -> str:
    """Return the encoding that a byte order mark names; UTF-8 without one."""
    return next((name for mark, name in _ENCODINGS.items() if start.startswith(mark)), "utf-8")


@contextmanager
def open_table(
    path: str | os.PathLike[str], fits: Callable[[Sequence[str]], bool], needs: str
) -> Iterator[TextTable]:
    """Open a table, plain or compressed.

    Args:
        path: the file.
        fits: returns whether these column names are those of the expected table; the first
            delimiter for which they are is taken.
        needs: the required columns, for the message.

    Raises:
        InputError: the file cannot be read, or is not such a table; also raised while iterating.
    """
    name = os.fspath(path)
    with reading(name, "give a table, as CSV or tab-separated text"), open_content(name) as content:
        encoding = encoding_of(content.peek(4))
        lines = _lines(TextIOWrapper(content, encoding, newline=""), name)
        header = next(lines, "")
        delimiter, columns = _header(header, fits)
        while columns and not columns[-1]:
            columns.pop()
        if not fits(columns):
            shown = ", ".join(columns[:_NAMED]) + ", ..." * (len(columns) > _NAMED)
            raise InputError(f"{name}, line 1: needs columns {needs}; it has {shown or 'none'}")
        has_quotes = header.startswith('"')
        may_have = has_quotes or delimiter != "\t"
        rows = _quoted(lines, delimiter, name) if may_have else _plain(lines)
        yield TextTable(name, columns, rows, has_quotes)


def _lines(text: TextIO, name: str) -> Iterator[str]:
    """Yield the lines of a text with their ends; refuse text that cannot be a table."""
    number = size = 0
    while True:
        try:
            line = text.readline(_LONGEST_LINE)
        except UnicodeError as error:
            raise InputError(
                f"{name}, after line {number:,}: is not {encoding_of(b'').upper()} text "
                f"({error}); save it as UTF-8"
            ) from error
        if not line:
            return
        number += 1
        size += len(line)
        if "\0" in line:
            raise InputError(
                f"{name}, line {number:,}: contains a NUL byte, as UTF-16 without a byte order "
                "mark does; save it as UTF-8"
            )
        if len(line) == _LONGEST_LINE or size > _LONGEST or number > _MOST_LINES:
            raise InputError(
                f"{name}, line {number:,}: is too long for a table of labels or scores; a table "
                f"has up to {_MOST_LINES:,} lines of up to {_LONGEST_LINE:,} characters"
            )
        yield line


def _header(line: str, fits: Callable[[Sequence[str]], bool]) -> tuple[str, list[str]]:
    """Return the delimiter and the column names; if none fit, those with the most names."""
    best = "\t", list[str]()
    for delimiter in _DELIMITERS:
        try:
            (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
        except (csv.Error, ValueError):
            cells = line.split(delimiter)
        names = _clean(cells)
        if fits(names):
            return delimiter, names
        if len(names) > len(best[1]):
            best = delimiter, names
    return best


def _clean(cells: list[str]) -> Cells:
    return [printable(cell.strip()) for cell in cells]


def _quoted(lines: Iterator[str], delimiter: str, name: str) -> Iterator[tuple[int, Cells]]:
    """Yield the line number and the cells of rows in which any cell may be quoted."""
    rows, begins = csv.reader(lines, delimiter=delimiter, strict=True), 2
    try:
        for cells in rows:
            yield begins, _clean(cells)
            begins = rows.line_num + 2
    except csv.Error as error:
        raise InputError(f"{name}, line {begins:,}: {error}; fix its quotes") from error


def _plain(lines: Iterator[str]) -> Iterator[tuple[int, Cells]]:
    """Yield the line number and the cells of tab-separated rows.

    A quotation mark is part of the cell, as in virnucpro's own tables, except where spreadsheets
    and pandas quote a cell because it contains a comma or a quotation mark.
    """
    for number, line in enumerate(lines, 2):
        yield number, _clean([_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")])


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"' or not ("," in inner or '""' in inner):
        return cell
    return cell if '"' in inner.replace('""', "") else inner.replace('""', '"')


def quoted(text: str) -> str:
    """Return the content of a cell for a message."""
    return repr(shortened(text, _QUOTED))


def read_columns(
    path: str | os.PathLike[str],
    columns: Mapping[str, Sequence[str]],
    fits: Callable[[Sequence[str]], bool],
    needs: str,
) -> pl.DataFrame:
    """Read some columns of a table as text, and the line number of each row (`LINE`).

    Args:
        path: the file, plain or compressed.
        columns: name in the result -> names in the table; the first that exists is read. A column
            that does not exist is left out of the result.
        fits: as for `open_table`.
        needs: as for `open_table`.

    Returns:
        one row a record; empty cells are null.

    Raises:
        InputError: the file cannot be read, is not such a table, or has no rows.
    """
    with open_table(path, fits, needs) as table:
        found = {name: table.first(*names) for name, names in columns.items()}
        places = {name: place for name, place in found.items() if place is not None}
        rows, parts = iter(table), [_frame([], places)]
        while some := list(islice(rows, _BATCH)):
            parts.append(_frame(some, places))
    read = pl.concat(parts)
    if read.is_empty():
        raise InputError(f"{os.fspath(path)}: has a header line only; add a line for each record")
    return read


def _frame(rows: Sequence[tuple[int, Cells]], places: Mapping[str, int]) -> pl.DataFrame:
    columns = {
        name: pl.Series([cells[place] or None for _, cells in rows], dtype=pl.String)
        for name, place in places.items()
    }
    return pl.DataFrame(columns | {LINE: pl.Series([line for line, _ in rows], dtype=pl.Int64)})


def refuse_cells(
    table: pl.DataFrame,
    is_wrong: pl.Series,
    column: str,
    path: str | os.PathLike[str],
    to_do: str = "fix the line, or leave it out",
) -> None:
    """Raise an `InputError` about the first row of `read_columns` whose cell is wrong, if any."""
    wrong = is_wrong.arg_true()
    if len(wrong):
        value, line = table[column][int(wrong[0])], table[LINE][int(wrong[0])]
        what = "is empty" if value is None else f"is {quoted(value)}"
        raise InputError(f"{os.fspath(path)}, line {line:,}: {column} {what}; {to_do}")
