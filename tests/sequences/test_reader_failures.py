"""Files that are damaged or of something else: one line that names the file, record and line."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sequence_files import (
    COMPRESSIONS,
    FORMATS,
    PACKED,
    Compress,
    fasta,
    fastq,
    random_reads,
    read,
    write,
    zst,
)
from virnucpro.errors import InputError
from virnucpro.sequences import Nucleotides, Record, SequenceFile
from virnucpro.sequences.nucleotides import as_dna
from virnucpro.sequences.records import read_problem


def failure_of(path: Path) -> str:
    """Return the one line that reading a file fails with, without the file's name."""
    with pytest.raises(InputError) as caught, SequenceFile(str(path)) as file:
        list(file)
    text = str(caught.value)
    assert text.splitlines() == [text]
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_missing_file(tmp_path: Path) -> None:
    assert "No such file" in failure_of(tmp_path / "missing.fa")


def test_directory(tmp_path: Path) -> None:
    assert failure_of(tmp_path).startswith("is a directory")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("content", [b"hello\nworld\n", b"ACGT\n", b"\x00\x01"])
def test_neither_fasta_nor_fastq(tmp_path: Path, content: bytes, compression: str) -> None:
    path = write(tmp_path / "a.fa", COMPRESSIONS[compression](content))
    assert failure_of(path).startswith("is not FASTA, FASTQ or BAM (line 1 ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (">a\nAC\n".encode("utf-16"), "is text in UTF-16; convert it to UTF-8: iconv -f UTF-16 -t"),
        (">a\nAC\n".encode("utf-16-be"), "is text in UTF-16; "),
        (b"@a\rAC\r+\rII\r", "record 1, line 1: has a carriage return within the line; if"),
        (b">a\nAC\n>b\rAC\n", "record 1, line 3: has a carriage return within the line; if"),
        (b"\n#x\n>a\nAC\n", "line 2 is a comment, which is not supported; remove it: grep -v"),
        (b"; x\n>a\nAC\n", "line 1 is a comment, which is not supported; "),
        (b"@a\nAC\nGT\n+\nIIII\n", "record 1, line 3: does not begin with '+'; FASTQ has four"),
        (b"@a\nACGT\n+\nII\nII\n", "record 1, line 4: 2 qualities for 4 bases; is the file com"),
        (b"@a\nAC\n+\nII\nx\n@b\nA\n", "record 2, line 5: does not begin with '@'; FASTQ has"),
        (b"@a\nAC\n+b\nII\n", "record 1, line 3: names a different record than the header line"),
    ],
)
def test_what_is_refused_says_why_and_what_to_do(tmp_path: Path, content: bytes, told: str) -> None:
    assert failure_of(write(tmp_path / "a", content)).startswith(told)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b">",
        b"@",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
        b"BZh9",
        b"\xfd7zXZ\x00",
        b"\x28\xb5\x2f\xfd",
    ],
    ids=["nothing", "fasta", "fastq", "gz", "gz header", "bz2", "xz", "zst"],
)
@pytest.mark.parametrize("seed", range(5))
def test_random_bytes(tmp_path: Path, start: bytes, seed: int) -> None:
    noise = random.Random(seed).randbytes(2000)
    assert failure_of(write(tmp_path / "a", start + noise))


def test_unequal_quality_names_record_and_line(tmp_path: Path) -> None:
    lines = fastq(random_reads(5, 50)).splitlines(keepends=True)
    lines[11] = lines[11][1:]
    assert failure_of(write(tmp_path / "a.fq", b"".join(lines))).startswith("record 3, line 12: ")


def test_a_line_that_is_not_plus_names_record_and_line(tmp_path: Path) -> None:
    lines = fastq(random_reads(5, 50)).splitlines(keepends=True)
    lines[6] = b"ACGT\n"
    assert failure_of(write(tmp_path / "a.fq", b"".join(lines))).startswith("record 2, line 7: ")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    ("tail", "line"), [(b"@c", 9), (b"@c\nAC", 10), (b"@c\nACGT\n", 11), (b"@c\nACGT\n+\nII", 12)]
)
def test_cut_fastq_names_record_and_line(
    tmp_path: Path, tail: bytes, line: int, compression: str
) -> None:
    content = b"@a\nACGT\n+\nIIII\n@b\nACGT\n+\nIIII\n" + tail
    path = write(tmp_path / "a.fq", COMPRESSIONS[compression](content))
    assert failure_of(path).startswith(f"record 3, line {line}: ")


@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("fmt", FORMATS)
def test_compressed_data_cut_anywhere(tmp_path: Path, fmt: str, compression: str) -> None:
    packed = COMPRESSIONS[compression](FORMATS[fmt](random_reads(4, 20)))
    for size in range(6, len(packed)):
        path = write(tmp_path / "a", packed[:size])
        assert failure_of(path).startswith("the compressed data ends early, after record ")


@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("fmt", FORMATS)
def test_compressed_data_cut_in_the_middle_of_many_records(
    tmp_path: Path, fmt: str, compression: str
) -> None:
    records = random_reads(4000, 150)
    packed = COMPRESSIONS[compression](FORMATS[fmt](records))
    path = write(tmp_path / "a", packed[: 3 * len(packed) // 4])
    found: list[Record] = []
    with pytest.raises(InputError) as caught, SequenceFile(str(path)) as file:
        found.extend(file)
    assert 0 < len(found) < len(records)
    assert found == records[: len(found)]
    assert f"after record {len(found)};" in str(caught.value)


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        lambda data: gzip.compress(data, compresslevel=0),
        bz2.compress,
        lzma.compress,
        zst,
    ],
    ids=["gz", "gz stored", "bz2", "xz", "zst"],
)
@pytest.mark.parametrize("fmt", FORMATS)
def test_a_flipped_byte(tmp_path: Path, fmt: str, compress: Compress) -> None:
    packed = compress(FORMATS[fmt](random_reads(20, 40)))
    for place in range(len(packed) // 4, 3 * len(packed) // 4, 11):
        flipped = packed[:place] + bytes([packed[place] ^ 0x41]) + packed[place + 1 :]
        assert failure_of(write(tmp_path / "a", flipped))


@pytest.mark.parametrize("content", [b">p1 capsid\nMKLV\n", b"@p1 capsid\nMKLV\n+\nIIII\n"])
@pytest.mark.parametrize("count", [1, 3, 1000, 1001, 5000])
def test_protein(tmp_path: Path, content: bytes, count: int) -> None:
    path = write(tmp_path / "a.faa", content * count)
    found: list[Record] = []
    with pytest.raises(InputError) as caught, SequenceFile(str(path)) as file:
        found.extend(file)
    others = "" if count == 1 else ", as in all other records checked"
    told = f"{path}: record 1 (p1), line 2: letters that are not nucleotides ('L')"
    assert str(caught.value) == f"{told}{others}; is this protein? Give DNA"
    assert len(found) == min(count, 999)


@pytest.mark.parametrize("place", [0, 1, 998, 999, 1000])
def test_one_record_that_is_of_its_kind_is_enough(tmp_path: Path, place: int) -> None:
    records = [Record("p", "MKLV")] * 1001
    records[place] = Record("d", "ACGT")
    path = write(tmp_path / "a.fa", fasta(records))
    if place == 1000:
        assert "is this protein?" in failure_of(path)
    else:
        assert read(path) == records


def test_letters_that_nobody_knows_do_not_decide_by_place(tmp_path: Path) -> None:
    for letters in ("XXXXACGT", "....acgt", "xxxx"):
        records = [Record("a", letters), Record("b", "ACGT"), Record("c", letters)]
        for some in (records, records[::-1], records[:1]):
            assert read(write(tmp_path / "a.fa", fasta(some))) == some
            path = write(tmp_path / "a.fq", fastq(some))
            with SequenceFile(str(path)) as file:
                assert [read_problem(found, "dna") for found in file.reads()] == [""] * len(some)
    known = Nucleotides.join(["ACNNN"])
    assert Nucleotides.join(["acXx."]).letters_N.tolist() == known.letters_N.tolist()
    assert as_dna("acXx.") == "ACNNN"


BYTES = st.binary(max_size=12).map(lambda data: data.translate(None, b"\r\n"))


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(odd=st.lists(st.tuples(BYTES, BYTES, BYTES), min_size=1, max_size=3))
@example(odd=[(b"", b"*", b"\x80")])
def test_odd_bytes_in_a_record_move_nothing_to_others(
    tmp_path: Path, odd: list[tuple[bytes, bytes, bytes]]
) -> None:
    """Whatever a line holds, the records around it keep their own letters and qualities."""
    sound = [b"@r%d\n%s\n+\n%s\n" % (i, b"ACGT"[i:], b"IH!#"[i:]) for i in range(4)]
    cut = [(header, letters, quality[: len(letters)]) for header, letters, quality in odd]
    whole = [(h, letters[: len(quality)], quality) for h, letters, quality in cut]
    strange = [b"@x%s\n%s\n+\n%s\n" % record for record in whole]
    content = b"".join([sound[0], *strange[:1], sound[1], *strange[1:], sound[2], sound[3]])
    with SequenceFile(str(write(tmp_path / "a.fq", content))) as file:
        reads = list(file.reads())
    kept = [read for read in reads if read.record.header.startswith("r")]
    expected = [(f"r{i}", "ACGT"[i:], "IH!#"[i:]) for i in range(4)]
    assert [(*read.record, read.qualities) for read in kept] == expected
    others = [read for read in reads if not read.record.header.startswith("r")]
    for other, (_, letters, quality) in zip(others, whole, strict=True):
        assert other.record.sequence == letters.decode("latin-1")
        assert len(other.qualities) == len(letters)
        assert other.qualities.isascii()
        if not (letters + quality).isascii():
            assert "not ASCII" in read_problem(other, "dna")
