"""Sample sheets: hostile tables, paths and bytes; each is read or refused with one line.

python benchmarks/robustness/sheets.py --cases 20000 --seed 1

Sheets are made of rows whose meaning is known, so that a sheet that is taken must name the samples
and files that went into it. Others are damaged at a random place, and may be taken or refused.
"""

import random
from pathlib import Path

from harness import Case, Fuzzer, LostError, main
from virnucpro.sequences.sample_sheet import read_sheet

FILES = ("a.fq", "b.fq", "c d.fq", "deep/a.fq")
#: Cells that somebody may write where a name or a file belongs.
CELLS = (
    "", "-", ".", "..", "../../etc/passwd", "/etc/passwd", "/dev/zero", "/dev/stdin", "a" * 500,
    "a" * 100_000, "\x1b[31m",
    "[/red]", "a\tb", 'say "so"', '"', "'", "none.fq", "deep", "fifo", "a.fq ", " a.fq",
    "\u202e", "\ufeff",
    "empty.fq", "text.fq", "A", "samples.tsv", "records.tsv", "a;b", "a,b", "\x00", "con",
    "-o", "$(id)",
    "NA", "1e999", "a.fq b.fq", "*.fq", "~/a.fq", "\r", "é", "\ud7ff", "run.json",
)  # fmt: skip
HEADERS = (
    "sample,files", "sample,fastq_1,fastq_2", "Sample,Files", "sample,files,files", "files,sample",
    "sample", "", "sample,fastq_2", "sample,files,fastq_1,fastq_2", ",,sample,files,,",
    "sample,files,strand,\x1b]0;x\x07",
)  # fmt: skip
WHOLE = "whole"


def draw(chance: random.Random) -> Case:
    """Return a sheet; one of the kind `whole` must be taken as it is."""
    delimiter = chance.choice(",\t;")
    newline = chance.choice(("\n", "\r\n"))
    if chance.random() < 0.3:
        rows = [("sample", "files")]
        rows += [(f"s{i}", chance.choice(FILES)) for i in range(chance.randint(1, 6))]
        text = newline.join(delimiter.join(row) for row in rows)
        return Case(WHOLE, (chance.choice(("", "\ufeff")) + text).encode())
    lines = [chance.choice(HEADERS).replace(",", delimiter)]
    for _ in range(chance.choice((0, 1, 1, 2, 3, 50))):
        cells = [
            chance.choice((*FILES, "s1", "s2")) if chance.random() < 0.7 else chance.choice(CELLS)
            for _ in range(chance.choice((1, 2, 2, 2, 3, 3, 9)))
        ]
        lines.append(delimiter.join(cells))
    content = bytearray(newline.join(lines).encode("utf-8", "surrogatepass"))
    kind = "hostile"
    if chance.random() < 0.4 and content:
        kind = "damaged"
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(content))
            content[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
            content = content or bytearray(b"x")
    if chance.random() < 0.05:
        kind, content = "UTF-16", bytearray(content.decode("utf-8", "replace").encode("utf-16"))
    return Case(kind, bytes(content))


def attempt(case: Case, folder: Path) -> None:
    """Read a sheet; one that must be taken names what went into it."""
    if not (folder / "deep").exists():
        (folder / "deep").mkdir()
        for name in FILES:
            (folder / name).write_text("@r\nACGT\n+\nIIII\n")
        (folder / "empty.fq").write_text("")
        (folder / "text.fq").write_text("hello\n")
    path = folder / "sheet.csv"
    path.write_bytes(case.data)
    before = set(folder.rglob("*"))
    sheet = read_sheet(path)
    if set(folder.rglob("*")) != before:
        raise LostError("reading a sheet has written files")
    if case.kind == WHOLE:
        found = [(s.name, Path(s.files[0]).relative_to(folder).as_posix()) for s in sheet.samples]
        text = case.data.decode("utf-8-sig").replace(";", ",").replace("\t", ",")
        if found != [tuple(line.split(",")) for line in text.splitlines()[1:]]:
            raise LostError(f"{found} was read")


FUZZER = Fuzzer("sheets", draw, attempt)

if __name__ == "__main__":
    main(FUZZER)
