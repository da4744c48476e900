"""Tables as users write them: the same labels from every program, or an error of one line."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.errors import InputError
from virnucpro.sequences.labels import read_labels

#: Record, class and source in each of the tables below.
LABELS = [
    ("a", "virus_x", "g1"),
    ("it's", "other", "g 2"),
    ('"chr1', "other", "g1"),
    ("x,y;z", "virus", "g1"),
]
ROWS = [
    ["id", "is_virus", "class", "source"],
    *([name, ("0", "1")[c[0] == "v"], c, genome] for name, c, genome in LABELS),
]
READ = [(name, c[0] == "v", c, genome) for name, c, genome in LABELS]


def written(delimiter: str, quoting: int = csv.QUOTE_MINIMAL, end: str = "\n") -> str:
    file = io.StringIO()
    options: dict[str, object] = {"quoting": quoting, "lineterminator": end}
    csv.writer(file, delimiter=delimiter, **options).writerows(ROWS)  # type: ignore[arg-type]
    return file.getvalue()


def by_r(delimiter: str, *, names: bool, corner: str = "") -> str:
    """Return the table as R's write.table and write.csv do: text is in quotes, logicals are not."""
    lines = []
    for number, row in enumerate(ROWS):
        cells = ['"' + cell.replace('"', '""') + '"' for cell in row]
        cells[1] = cells[1] if number == 0 else ("FALSE", "TRUE")[row[1] == "1"]
        first = [f'"{number}"'] if number else [corner] * bool(corner)
        lines.append(delimiter.join(first * names + cells) + "\n")
    return "".join(lines)


TABLES: dict[str, str] = {
    "virnucpro and Unix tools": "".join("\t".join(row) + "\n" for row in ROWS),
    "pandas, tabs": written("\t"),
    "pandas, commas": written(","),
    "Excel, semicolons": written(";", end="\r\n"),
    "Excel, tabs": written("\t", end="\r\n"),
    "old Mac": written(",", end="\r"),
    "all in quotes": written("\t", csv.QUOTE_ALL),
    "R, write.csv": by_r(",", names=True, corner='""'),
    "R, write.table of tabs": by_r("\t", names=True),
    "R, write.table by default": by_r(" ", names=True),
    "R, without row names": by_r("\t", names=False),
    "no end of the last line": written(",").rstrip("\n"),
    "empty lines and cells": written(",").replace("\n", ",,\n", 2) + "\n,,,\n\n",
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


def rows(path: Path) -> list[tuple[object, ...]]:
    return read_labels([path]).table.rows()


@pytest.mark.parametrize("writer", TABLES)
def test_whatever_wrote_a_table_it_says_the_same(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    for encoding in ENCODINGS:
        path.write_bytes(TABLES[writer].encode(encoding))
        assert rows(path) == READ, encoding
    path.write_bytes(gzip.compress(TABLES[writer].encode("utf-16")))
    assert rows(path) == READ


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("1.0", "0.0"), ("TRUE", "FALSE"), ("yes", "No"), ("Virus", "other")],
)
def test_labels_are_words_or_numbers(yes: str, no: str, tmp_path: Path) -> None:
    (tmp_path / "l").write_text(f"id,is_virus\na,{yes}\nb,{no}\n")
    assert rows(tmp_path / "l") == [("a", True, None, None), ("b", False, None, None)]


def test_ids_are_as_in_the_tables_of_predict(tmp_path: Path) -> None:
    """Whether a label is written of the FASTA file, or of `records.tsv`."""
    for name in ("a\x1b[1mb", "a\\x1b[1mb"):
        (tmp_path / "l").write_text(f"id\tis_virus\n{name}\t1\n")
        assert rows(tmp_path / "l")[0][0] == "a\\x1b[1mb"


Make = Callable[[], bytes]
REFUSED: dict[str, tuple[Make, str]] = {
    "NUL": (lambda: b"id\tis_virus\na\0\t1\n", "line 2: contains a NUL"),
    "UTF-16 without a mark": (lambda: "id\tis_virus\n".encode("utf-16-le"), "save it as UTF-8"),
    "Latin-1": (lambda: b"id\tis_virus\ncaf\xe9\t1\n", "after line 0: is not UTF-8 text .*0xe9"),
    "one long line": (lambda: b"id\tis_virus\n" + b"a" * (2 << 20), "line 2: is too long for a ta"),
    "columns": (lambda: b"id\t" + b"c\t" * 10**6, "line 1: is too long for a table"),
    "many columns": (lambda: b"id\t" + b"c\t" * 10**5, r"it has id, c, c, c, c, c, c, c, \.\.\."),
    "open quote": (lambda: b'id,is_virus\na,1\n"b,1\n' + b"c,1\n" * 9, "line 3: .*fix its quotes"),
    "a long value": (lambda: b"id,is_virus\na," + b"x" * 10**5, r"is 'x+ \.\.\. x+'; give 1"),
    "cut gz": (
        lambda: gzip.compress(b"id,is_virus\n" + b"a,1\n" * 99)[:-9],
        "cannot be read .*; give a",
    ),
    "two columns": (lambda: b"id,is_virus,id\na,1,b\n", "line 1: has two columns id; keep one"),
    "named rows of R": (lambda: b'"id" "is_virus"\n"row" "a" 1\n', r"row\.names = FALSE"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_is_one_short_line(kind: str, tmp_path: Path) -> None:
    make, said = REFUSED[kind]
    path = tmp_path / "labels"
    path.write_bytes(make())
    with pytest.raises(InputError, match=said) as refused:
        read_labels([path])
    line = str(refused.value)
    assert line.startswith(f"{path}")
    assert len(line) < 1100
    assert line.isprintable()


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=60), st.sampled_from(sorted(TABLES)), st.integers(0, 200))
def test_damaged_tables_give_labels_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, writer: str, place: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile"
    content = TABLES[writer].encode()
    for start, end in ((content[:place], content[place:]), (b"\x1f\x8b", b""), (b"", b"")):
        path.write_bytes(start + junk + end)
        try:
            read_labels([path])
        except InputError as error:
            assert str(error).startswith(f"{path}")  # noqa: PT017 (it may be read)
