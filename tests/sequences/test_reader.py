"""Real files of every format and compression, whole and well formed."""

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sequence_files import (
    COMPRESSIONS,
    FORMATS,
    PACKED,
    READS,
    fasta,
    fastq,
    random_reads,
    read,
    write,
)
from virnucpro.sequences import Record, SequenceFile
from virnucpro.sequences.nucleotides import NUCLEOTIDE_LETTERS


@pytest.mark.parametrize("name", ["a.fa", "a.fastq", "a.fa.gz", "a.bz2", "a.xz", "a.zst", "a"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("fmt", FORMATS)
def test_content_decides_and_not_the_name(
    tmp_path: Path, fmt: str, compression: str, name: str
) -> None:
    content = COMPRESSIONS[compression](FORMATS[fmt](READS))
    assert read(write(tmp_path / name, content)) == READS


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_file_without_content_holds_no_records(tmp_path: Path, compression: str) -> None:
    assert read(write(tmp_path / "a.fa", COMPRESSIONS[compression](b""))) == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("width", [1, 3, 60])
def test_fasta_line_width_and_ending(tmp_path: Path, width: int, newline: str) -> None:
    assert read(write(tmp_path / "a.fa", fasta(READS, width, newline))) == READS


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("second_header", [False, True])
def test_fastq_line_ending_and_second_header(
    tmp_path: Path, newline: str, *, second_header: bool
) -> None:
    content = fastq(READS, newline, second_header=second_header)
    assert read(write(tmp_path / "a.fq", content)) == READS


@pytest.mark.parametrize("fmt", FORMATS)
def test_last_line_without_line_break(tmp_path: Path, fmt: str) -> None:
    assert read(write(tmp_path / "a", FORMATS[fmt](READS).rstrip(b"\n"))) == READS


BLANKS = [b"", b"\n", b"\r\n \t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n", b"\n" * 200_000]


@pytest.mark.parametrize("start", BLANKS, ids=len)
@pytest.mark.parametrize(
    "content",
    [
        b">a\n\nAC\n  \nGT\n\n\n  >b\n A\t\n\n",
        b"@a\nACGT\n+\nIIII\n\n \n@b\nA\n+b\nI\n\r\n\n",
        b"",
    ],
    ids=["fasta", "fastq", "nothing"],
)
def test_a_mark_of_byte_order_and_blank_lines_are_passed_over(
    tmp_path: Path, start: bytes, content: bytes
) -> None:
    records = [Record("a", "ACGT"), Record("b", "A")] if content else []
    path = write(tmp_path / "a", start + content)
    assert read(path) == records
    if records:
        assert lines_of(path)[0] == start.count(b"\n") + 1


def test_a_mark_within_a_record_is_no_line_of_its_own(tmp_path: Path) -> None:
    """Not as a comment that vanishes: it makes its record one that is listed."""
    path = write(tmp_path / "a.fa", b">a\nAC\n#comment\nGT\n>b\nA\n")
    assert read(path) == [Record("a", "AC#commentGT"), Record("b", "A")]


@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("fmt", FORMATS)
def test_many_members(tmp_path: Path, fmt: str, compression: str) -> None:
    """Compressed pieces end to end, as bgzip writes, borders anywhere within a line."""
    content = FORMATS[fmt](READS)
    pieces = [content[i : i + 11] for i in range(0, len(content), 11)]
    packed = b"".join(map(COMPRESSIONS[compression], pieces))
    if compression == "gz":
        packed += gzip.compress(b"")
    assert read(write(tmp_path / "a", packed)) == READS


@pytest.mark.parametrize(
    ("line", "header", "record_id"),
    [
        (b"id two words", "id two words", "id"),
        (b"id\ttab", "id\ttab", "id"),
        (b" leading space", " leading space", "leading"),
        (b"", "", "unnamed"),
        ("Phage_\u03a6X174 caf\u00e9".encode(), "Phage_\u03a6X174 caf\u00e9", "Phage_\u03a6X174"),
        (b"caf\xe9 latin-1", "caf\\xe9 latin-1", "caf\\xe9"),
        (b"gi|1|ref>x@y", "gi|1|ref>x@y", "gi|1|ref>x@y"),
        (b"a\x1ab", "a\x1ab", "a\\x1ab"),
        (b"a\x1a41", "a\x1a41", "a\\x1a41"),
    ],
)
@pytest.mark.parametrize("template", [b">%s\nACGT\n", b"@%s\nACGT\n+\nIIII\n"])
def test_headers(tmp_path: Path, template: bytes, line: bytes, header: str, record_id: str) -> None:
    (record,) = read(write(tmp_path / "a", template % line))
    assert record == Record(header, "ACGT")
    assert record.id == record_id


@pytest.mark.parametrize("fmt", FORMATS)
def test_non_ascii_headers_across_buffers(tmp_path: Path, fmt: str) -> None:
    records = [Record(f"r{i} {i % 50 * 'é'}!", "ACGT") for i in range(6000)]
    assert read(write(tmp_path / "a", FORMATS[fmt](records))) == records


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_record_longer_than_any_buffer(tmp_path: Path, fmt: str) -> None:
    records = random_reads(2, 1_000_000)
    assert read(write(tmp_path / "a", FORMATS[fmt](records))) == records


@pytest.mark.parametrize("fmt", FORMATS)
def test_duplicate_ids_stay_two_records(tmp_path: Path, fmt: str) -> None:
    records = [Record("same", "ACGT"), Record("same", "ACGT"), Record("same", "GG")]
    assert read(write(tmp_path / "a", FORMATS[fmt](records))) == records


@pytest.mark.parametrize("fmt", FORMATS)
def test_records_without_bases(tmp_path: Path, fmt: str) -> None:
    records = [Record("none", ""), Record("a", "ACGT"), Record("between", ""), Record("last", "")]
    assert read(write(tmp_path / "a", FORMATS[fmt](records))) == records


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_position_ends_at_the_stored_size(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "a", COMPRESSIONS[compression](fastq(random_reads(3000, 100))))
    with SequenceFile(str(path)) as file:
        positions = [file.position() for _ in file]
    assert positions == sorted(positions)
    assert positions[-1] == path.stat().st_size


header_letters = st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])
headers = st.text(header_letters, max_size=20).filter(lambda text: text == text.rstrip())
nucleotides = st.text(st.sampled_from(NUCLEOTIDE_LETTERS + NUCLEOTIDE_LETTERS.lower()), max_size=40)
record_lists = st.lists(st.builds(Record, headers, nucleotides), min_size=1, max_size=8)
newlines = st.sampled_from(["\n", "\r\n"])


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=record_lists, width=st.integers(1, 50), newline=newlines)
def test_any_fasta_comes_back(
    tmp_path: Path, records: list[Record], width: int, newline: str
) -> None:
    assert read(write(tmp_path / "a", fasta(records, width, newline))) == records


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=record_lists, newline=newlines, second_header=st.booleans())
def test_any_fastq_comes_back(
    tmp_path: Path, records: list[Record], newline: str, *, second_header: bool
) -> None:
    content = fastq(records, newline, second_header=second_header)
    assert read(write(tmp_path / "a", content)) == records


READ_STDIN = """
import json, sys
from virnucpro.errors import InputError
from virnucpro.sequences import SequenceFile
try:
    with SequenceFile("-") as file:
        reads = list(file.reads())
        records, line = [read.record for read in reads], reads[1].line
        found = {"records": records, "line": line, "position": file.position()}
except InputError as error:
    found = {"error": str(error)}
print(json.dumps(found | {"closed": sys.stdin.buffer.closed}))
"""


def through_stdin(content: bytes) -> dict[str, object]:
    """Read `content` from the standard input of another process."""
    command = [sys.executable, "-W", "error", "-c", READ_STDIN]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    assert done.stderr == b""
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("compression", ["plain", "gz", "zst"])
@pytest.mark.parametrize(("fmt", "line"), [("fasta", 4), ("fastq", 5)])
def test_standard_input(fmt: str, line: int, compression: str) -> None:
    found = through_stdin(COMPRESSIONS[compression](FORMATS[fmt](READS)))
    records = [list(record) for record in READS]
    assert found == {"records": records, "line": line, "position": 0, "closed": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello\n", "standard input: is not FASTA, FASTQ or BAM"),
        (b"@a\nACGT\n+\nIII\n", "standard input: record 1, line 4"),
    ],
)
def test_failures_on_standard_input_name_it(content: bytes, message: str) -> None:
    error = through_stdin(content)["error"]
    assert isinstance(error, str)
    assert error.startswith(message)


def feed_pipe(pieces: list[bytes]) -> tuple[int, threading.Thread]:
    """Write the first piece into a new pipe, and the others after a while from a thread."""
    readable, writable = os.pipe()
    os.write(writable, pieces[0])

    def write_rest() -> None:
        with os.fdopen(writable, "wb") as stream:
            stream.write(b"".join(pieces[1:]))

    writer = threading.Timer(0.1, write_rest)
    writer.start()
    return readable, writer


def read_pipe(pieces: list[bytes]) -> list[Record]:
    readable, writer = feed_pipe(pieces)
    try:
        return read(Path(f"/dev/fd/{readable}"))
    finally:
        writer.join()
        os.close(readable)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_pipe_whose_first_byte_comes_alone(compression: str) -> None:
    content = COMPRESSIONS[compression](fasta(READS))
    assert read_pipe([content[:1], content[1:]]) == READS


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_pipe_given_as_a_file(compression: str) -> None:
    content = COMPRESSIONS[compression](fastq(READS))
    assert read_pipe([content[:20], content[20:]]) == READS


def test_position_of_a_pipe_is_zero() -> None:
    readable, writer = feed_pipe([fasta(READS)])
    try:
        with SequenceFile(f"/dev/fd/{readable}") as file:
            assert list(file) == READS
            assert file.position() == 0
    finally:
        writer.join()
        os.close(readable)


def lines_of(path: Path) -> list[int]:
    with SequenceFile(str(path)) as file:
        return [read.line for read in file.reads()]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_of_fasta(tmp_path: Path, newline: str) -> None:
    content = newline.join(["", ">a", "AC", "GT", "", ">b", ">c x>y", "AC", ""]).encode()
    assert lines_of(write(tmp_path / "a", content)) == [2, 6, 7]


def test_lines_of_fastq(tmp_path: Path) -> None:
    records = random_reads(5000, 60)
    assert lines_of(write(tmp_path / "a", fastq(records))) == list(range(1, 20_000, 4))


@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=record_lists, width=st.integers(1, 50), newline=newlines)
def test_lines_of_any_fasta(
    tmp_path: Path, records: list[Record], width: int, newline: str
) -> None:
    content = fasta(records, width, newline)
    starts = [i for i, line in enumerate(content.split(b"\n"), 1) if line.startswith(b">")]
    assert lines_of(write(tmp_path / "a", content)) == starts
