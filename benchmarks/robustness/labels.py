"""Tables of labels as many programs write them, or damaged: each is read or refused in one line.

python benchmarks/robustness/labels.py --cases 20000 --seed 1

The ids of a whole table tell its labels, which must be read. Other tables are damaged at a random
place and may be read or refused.
"""

import bz2
import csv
import gzip
import io
import lzma
import random
from pathlib import Path

from harness import Case, Fuzzer, LostError, main
from virnucpro.errors import InputError
from virnucpro.sequences.labels import read_labels

WHOLE = "whole"
HEADER = ["id", "is_virus", "class", "source"]
#: What an id may begin and end with.
BEGINS, ENDS = (
    ('"', "'", "", "", "#", "=", "é"),
    ("x", "it's", 'say "so', "a,b;c", "中", "\\x1b", "#"),
)
TRUE, FALSE = ("1", "1.0", "TRUE", "True", "yes", "virus"), ("0", "0.0", "FALSE", "no", "other")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32")
PACKED = (bytes, bytes, bytes, gzip.compress, bz2.compress, lzma.compress)
#: What damage puts into a table.
JUNK = (
    b"\0", b'"', b"\r", b"\n", b"\t", b",", b";", b" ", b"\xff", b"\x1b[31m", b"[/red]",
    b"a" * 200_000,
    b"c\t" * 10_000, b"\xef\xbb\xbf", b"\xff\xfe", b"NA", b"1e999", b"\x1f\x8b", b'"' * 999,
)  # fmt: skip


def draw(chance: random.Random) -> Case:
    """Return a table; one of the kind `whole` must be read as what its ids say."""
    rows = [_row(chance, number) for number in range(chance.choice((1, 2, 5, 50)))]
    content = _text(chance, rows).encode(chance.choice(ENCODINGS))
    damage = chance.choice((WHOLE, WHOLE, "junk", "cut", "flipped", "damaged and packed"))
    if damage == "junk":
        content = chance.choice((b"", b"id\tis_virus\n")) + chance.randbytes(chance.randint(0, 99))
    elif damage == "damaged and packed":
        place = chance.randrange(len(content))
        content = content[:place] + chance.choice(JUNK) + content[place + chance.randint(0, 9) :]
    content = chance.choice(PACKED)(content)
    if damage == "cut":
        content = content[: chance.randrange(len(content))]
    elif damage == "flipped":
        flipped = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        content = bytes(flipped)
    return Case(damage, content)


def _row(chance: random.Random, number: int) -> list[str]:
    """Return a row whose id says number, class and source."""
    is_virus = chance.random() < 0.5
    name = chance.choice(("virus", "virus_x") if is_virus else ("other", "other_y"))
    source = chance.choice(("", "g1", "g2"))
    record = f"{chance.choice(BEGINS)}{number}|{name}|{source}|{chance.choice(ENDS)}"
    return [record, chance.choice(TRUE if is_virus else FALSE), name, source]


def _text(chance: random.Random, rows: list[list[str]]) -> str:
    """Write a table as one of many programs does."""
    end = chance.choice(("\n", "\n", "\r\n", "\r"))
    how = chance.choice(("plain", "needed", "all", "R"))
    if how == "plain":
        return "".join("\t".join(row) + end for row in (HEADER, *rows))
    delimiter = chance.choice("\t,; ")
    if how == "R":
        return "".join(
            delimiter.join(
                [f'"{number}"'] * (number > 0) + [f'"{x}"' for x in _doubled(row)]
            ) + end
            for number, row in enumerate((HEADER, *rows))
        )  # fmt: skip
    file = io.StringIO()
    if how == "all":
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=end)
    else:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerows([HEADER, *rows])
    return file.getvalue()


def _doubled(row: list[str]) -> list[str]:
    return [cell.replace('"', '""') for cell in row]


def attempt(case: Case, folder: Path) -> None:
    """Read a table; the labels of a whole one are those that its ids tell."""
    path = folder / "labels"
    path.write_bytes(case.data)
    try:
        rows = read_labels([path]).table.rows()
    except InputError as refused:
        if not str(refused).isprintable() or len(str(refused)) > 1100:
            raise LostError(f"no short line: {str(refused)[:300]!r}") from refused
        if case.kind == WHOLE:
            raise LostError(f"a whole table was refused: {refused}") from refused
        raise
    if case.kind != WHOLE:
        return
    for number, (record, is_virus, name, source) in enumerate(rows):
        found = str(number), name, source or ""
        begin, *told = record.split("|")[:3]
        if (begin.lstrip("\"'#=é"), *told) != found or is_virus != name.startswith("virus"):
            raise LostError(f"{record} was read as {is_virus}, {name}, {source}")


FUZZER = Fuzzer("labels", draw, attempt)

if __name__ == "__main__":
    main(FUZZER)
