"""Sample sheets: what they say, and what is refused with its line."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.errors import InputError
from virnucpro.sequences.sample_sheet import Sheet, read_sheet

READ = "@r\nACGT\n+\nIIII\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with some files of reads."""
    directory = tmp_path_factory.mktemp("sheet")
    (directory / "deep").mkdir()
    for name in ("a.fq", "b.fq", "c d.fq", "deep/a.fq"):
        (directory / name).write_text(READ)
    (directory / "text.fq").write_text("hello\n")
    return directory


def sheet_of(folder: Path, content: str | bytes, name: str = "sheet.csv") -> Sheet:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_sheet(path)


def refused(folder: Path, content: str | bytes) -> str:
    """Return what is said of a sheet, without its name."""
    with pytest.raises(InputError) as error:
        sheet_of(folder, content)
    assert "\n" not in str(error.value)
    sheet, _, said = str(error.value).partition("sheet.csv")
    assert sheet == f"{folder}/"
    return said


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_sheet_is_read_by_content(
    folder: Path, delimiter: str, newline: str, encoding: str
) -> None:
    rows = [["Sample", "Files"], ["one", "a.fq"], [], ["two", '"c d.fq"'], ["one", "deep/a.fq"]]
    found = sheet_of(folder, newline.join(map(delimiter.join, rows)).encode(encoding))
    assert [(s.name, s.line, s.files) for s in found.samples] == [
        ("one", 2, [f"{folder}/a.fq", f"{folder}/deep/a.fq"]),
        ("two", 4, [f"{folder}/c d.fq"]),
    ]
    assert found.notes == []


def test_paths_start_at_the_sheet(folder: Path) -> None:
    found = sheet_of(folder, f"sample,files\none,a.fq\ntwo,{folder}/b.fq\n", "deep/sheet.csv")
    assert [s.files for s in found.samples] == [[f"{folder}/deep/a.fq"], [f"{folder}/b.fq"]]


def test_sheets_of_pipelines_are_read(folder: Path) -> None:
    """With the columns that many workflows give, of which some are of no use here."""
    found = sheet_of(
        folder,
        "sample,run,fastq_1,fastq_2,strand\none,1,a.fq,b.fq,x\none,2,c d.fq,,\ntwo,1,a.fq,,\n",
    )
    one, two = found.samples
    assert one.files == [f"{folder}/c d.fq"]
    assert one.mates == [(f"{folder}/a.fq", f"{folder}/b.fq")]
    assert (two.files, two.mates) == ([f"{folder}/a.fq"], [])
    assert found.notes == [f"{folder}/sheet.csv: columns ignored: run, strand"]


def test_a_line_that_comes_twice_is_taken_once(folder: Path) -> None:
    found = sheet_of(folder, "sample,files\none,a.fq\ntwo,a.fq\none,a.fq\n")
    assert [s.files for s in found.samples] == [[f"{folder}/a.fq"]] * 2
    assert found.notes == [f"{folder}/sheet.csv, line 4: repeats an earlier line and is ignored"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", ", line 1: needs columns sample and files (or fastq_1), separated by"),
        ("id,files\n", ", line 1: needs columns sample"),
        (READ * 3, ", line 1: needs columns sample"),
        ("sample,files\n", ": names no sample"),
        ("sample,files,files\n", ", line 1: has two columns files; keep one"),
        ("sample,files\none\n", ", line 2: one needs files, or fastq_1"),
        ("sample,files,fastq_1\none,a.fq,b.fq\n", ", line 2: one needs files, or fastq_1"),
        ("sample,fastq_1,fastq_2\none,,b.fq\n", ", line 2: one needs files, or fastq_1"),
        ("sample,fastq_1,fastq_2\none,a.fq,a.fq\n", ", line 2: a.fq is in both fastq_1 and"),
        ("sample,files\none,a.fq,b.fq\n", ", line 2: has more cells than the header"),
        ('sample,files\n\none,"a.fq\n', ", line 3: unexpected end of data; fix its quotes"),
        ("sample,files\none,-\n", ", line 2: standard input (-) cannot be in a sheet"),
        ("sample,files\none,a.fq b.fq\n", "give a readable file; a line names one file"),
        ("sample,files\none,a.fq\nONE,b.fq\n", ", line 3: ONE is spelled one on line 2"),
        ("sample,files\none,.\n", "is a directory"),
        ("sample,files\none,text.fq\n", "text.fq: is not FASTA, FASTQ or BAM"),
        (f"sample,files\none,{'x' * 5000}\n", "(File name too long)"),
        (b"\xffsample", ": is not a table in UTF-8"),
        ("sample,files\none,\0\n", ": is not a sample sheet"),
        (b"sample,files\n" + b"," * (1 << 24), ": is not a sample sheet"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_line(
    folder: Path, content: str | bytes, told: str
) -> None:
    assert told in refused(folder, content)


@pytest.mark.parametrize(
    "name",
    ["", "..", "../b", "/abs", "a/b", ".hidden", "a b", "a\\b", "é", "x" * 129, "a\tb", "$(id)",
     "records.tsv", "records.tsv.gz.partial", "samples.tsv", "run.json", "report.html", "=1+1",
     "a\nb"],
)  # fmt: skip
def test_names_that_are_no_folder_are_refused(folder: Path, name: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["sample", "files"], [name, "a.fq"]])
    assert "cannot name a sample's folder" in refused(folder, text.getvalue())


def test_every_missing_file_is_named_with_its_line(folder: Path) -> None:
    said = refused(folder, "sample,files\n" + "".join(f"s{i},no{i}.fq\n" for i in range(8)))
    for line in range(2, 7):
        assert f"line {line}: {folder}/no{line - 2}.fq: cannot be read (No such file" in said
    assert said.endswith("; and 3 more")


def test_a_sheet_that_is_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match=r"nonesuch.csv: cannot be read \(No such file"):
        read_sheet(folder / "nonesuch.csv")


def outcome(folder: Path, content: bytes) -> Sheet | str:
    """Return the sheet, or what is said of it."""
    try:
        return sheet_of(folder, content)
    except InputError as error:
        return str(error)


WORDS = ("one", "two", "a.fq", "b.fq", "../x", "-", "sample", "", '"', "\0", "fastq_2")
CELLS = st.sampled_from(WORDS) | st.text(max_size=8)
COLUMNS = st.sampled_from(["sample", "files", "fastq_1", "fastq_2", "", "x"])


@settings(max_examples=50)
@given(
    header=st.lists(COLUMNS, max_size=5),
    rows=st.lists(st.lists(CELLS, max_size=5), max_size=6),
    delimiter=st.sampled_from(",\t; "),
)
def test_any_sheet_is_read_or_refused_in_a_line(
    folder: Path, header: list[str], rows: list[list[str]], delimiter: str
) -> None:
    content = "\n".join(map(delimiter.join, [header, *rows]))
    found = outcome(folder, content.encode("utf-8", "surrogatepass"))
    if isinstance(found, str):
        assert found.startswith(f"{folder}/sheet.csv")
        assert "\n" not in found
        return
    assert found.samples
    for sample in found.samples:
        assert (folder / sample.name).parent == folder
        assert sample.name[0] != "."
        assert [*sample.files, *sample.mates]


@settings(max_examples=50)
@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused_in_a_line(folder: Path, content: bytes) -> None:
    for found in (outcome(folder, content), outcome(folder, b"sample,files\n" + content)):
        assert isinstance(found, Sheet) or "\n" not in found
