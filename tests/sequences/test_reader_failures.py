"""Files that are damaged or of something else: one line that names the file, record and line."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import pytest

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
from virnucpro.sequences import Record, SequenceFile


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
@pytest.mark.parametrize("content", [b"hello\nworld\n", b"ACGT\n", b"\x00\x01", b"\xff\xfe>"])
def test_neither_fasta_nor_fastq(tmp_path: Path, content: bytes, compression: str) -> None:
    path = write(tmp_path / "a.fa", COMPRESSIONS[compression](content))
    assert failure_of(path).startswith("neither FASTA nor FASTQ (line 1 ")


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
def test_protein(tmp_path: Path, content: bytes) -> None:
    message = failure_of(write(tmp_path / "a.faa", content))
    assert message.startswith("record 1 (p1), line 2: ")
    assert "protein" in message


def test_protein_further_down_is_a_record_like_others(tmp_path: Path) -> None:
    records = [Record("dna", "ACGT"), Record("protein", "MKLV")]
    assert read(write(tmp_path / "a.fa", fasta(records))) == records
