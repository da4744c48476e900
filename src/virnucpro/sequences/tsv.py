"""Tables that people write: labels and scores, as spreadsheets, R and pandas save them.

Cells are parted by tabs, commas, semicolons or blanks, quoted or not; lines end as on any system;
the text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. The numbers that R puts before the
rows are left out.
"""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TextIO

from virnucpro.errors import InputError, printable, reading, shortened
from virnucpro.sequences.streams import open_content

#: How a label is written, in any case.
LABELS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "virus"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "other"), False),
}
#: The same for messages.
GIVE_LABELS = "give 1 or 0, true or false, yes or no, virus or other"
_DELIMITERS = ("\t", ",", ";", " ")
_ENCODINGS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
#: Letters of a line, letters of a table and lines of a table, at most.
_LONGEST_LINE, _LONGEST, _MOST_LINES = 1 << 20, 1 << 30, 20_000_000
#: Columns that a message names, and letters of what it quotes.
_NAMED, _QUOTED = 8, 60

Cells = list[str]


@dataclass
class TextTable:
    """An open table.

    Attributes:
        name: for messages.
        columns: their names.
    """

    name: str
    columns: list[str]
    _rows: Iterator[tuple[int, Cells]]
    _has_quotes: bool

    def __iter__(self) -> Iterator[tuple[int, Cells]]:
        """Yield the line and the cells of each row; a cell has no blanks at its ends."""
        width, before = len(self.columns), None
        for number, cells in self._rows:
            if not any(cells):
                continue
            if before is None:  # R writes the numbers of rows in a column without a name
                is_more = len(cells) == width + 1 and (self._has_quotes or cells[-1] != "")
                before = int(is_more and cells[0].isdigit())
            del cells[:before]
            while len(cells) > width and not cells[-1]:
                cells.pop()
            if len(cells) != width:
                raise InputError(
                    f"{self.name}, line {number}: has {len(cells) + before:,} cells and the header "
                    f"{width:,}; write as many (in R with row.names = FALSE)"
                )
            yield number, cells

    def first(self, *names: str) -> int | None:
        """Return the place of the first of some columns that is there; None without any.

        Raises:
            InputError: when two columns have that name.
        """
        name = next((name for name in names if name in self.columns), None)
        if name is None:
            return None
        if self.columns.count(name) > 1:
            raise InputError(f"{self.name}, line 1: has two columns {name}; leave one")
        return self.columns.index(name)


def encoding_of(start: bytes) -> str:
    """Return the encoding that a text's first bytes tell; UTF-8 where they tell none."""
    return next((name for mark, name in _ENCODINGS.items() if start.startswith(mark)), "utf-8")


@contextmanager
def open_table(
    path: str | os.PathLike[str], fits: Callable[[Sequence[str]], bool], needs: str
) -> Iterator[TextTable]:
    """Open a table, plain or compressed.

    Args:
        path: of the file.
        fits: tells whether the names of columns are those of the table that is looked for; it
            decides what cells are parted by.
        needs: names of the columns that it must have, for the message.

    Raises:
        InputError: when the file cannot be read, or is no such table; also while it is read.
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
    """Yield the lines of a text with their ends; refuse what can be no table."""
    number = size = 0
    while True:
        try:
            line = text.readline(_LONGEST_LINE)
        except UnicodeError as error:
            raise InputError(
                f"{name}, after line {number:,}: is no {encoding_of(b'').upper()} text ({error}); "
                "save it as UTF-8"
            ) from error
        if not line:
            return
        number += 1
        size += len(line)
        if "\0" in line:
            raise InputError(
                f"{name}, line {number:,}: holds a NUL, as no text does and UTF-16 without a byte "
                "order mark; save it as UTF-8"
            )
        if len(line) == _LONGEST_LINE or size > _LONGEST or number > _MOST_LINES:
            raise InputError(
                f"{name}, line {number:,}: is too long for a table of labels or scores; tables "
                f"have lines up to {_LONGEST_LINE:,} letters, and {_MOST_LINES:,} lines"
            )
        yield line


def _header(line: str, fits: Callable[[Sequence[str]], bool]) -> tuple[str, list[str]]:
    """Return what parts cells and the names of columns; the most names where none fit."""
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
    """Yield the line and the cells of rows, any cell of which may be in quotes."""
    rows, begins = csv.reader(lines, delimiter=delimiter, strict=True), 2
    try:
        for cells in rows:
            yield begins, _clean(cells)
            begins = rows.line_num + 2
    except csv.Error as error:
        raise InputError(f"{name}, line {begins:,}: {error}; mend its quotes") from error


def _plain(lines: Iterator[str]) -> Iterator[tuple[int, Cells]]:
    """Yield the line and the cells of rows whose cells are parted by tabs.

    A quotation mark is a letter, as in what virnucpro writes, but in a cell that spreadsheets and
    pandas put in quotes, since it holds a comma or such a mark.
    """
    for number, line in enumerate(lines, 2):
        yield number, _clean([_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")])


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"' or not ("," in inner or '""' in inner):
        return cell
    return cell if '"' in inner.replace('""', "") else inner.replace('""', '"')


def quoted(text: str) -> str:
    """Return what a cell says, for a message."""
    return repr(shortened(text, _QUOTED))
