"""Damage is never the end of a file: every container, cut and flipped wherever it may be."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pysam
import pytest

from read_files import Line, write_bam
from sequence_files import FORMATS, Compress, random_reads, read, write, zst
from virnucpro.errors import InputError
from virnucpro.sequences import Record, SequenceFile, decompression
from virnucpro.sequences.decompression import BGZF_END, StoredBytes, decompressed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def bgzf(data: bytes) -> bytes:
    """Compress one block as bgzip does."""
    packed = gzip.compress(data, mtime=0)
    size = len(packed) + 8 - 1
    extra = b"\x06\x00BC\x02\x00" + size.to_bytes(2, "little")
    return packed[:3] + b"\x04" + packed[4:10] + extra + packed[10:]


#: How a member of each container is made, and what ends the whole of them.
CONTAINERS: dict[str, tuple[Compress, bytes]] = {
    "gz": (gzip.compress, b""),
    "bgzip": (bgzf, BGZF_END),
    "bz2": (bz2.compress, b""),
    "xz": (lzma.compress, b""),
    "xz crc32": (lambda data: lzma.compress(data, check=lzma.CHECK_CRC32), b""),
    "zst": (zst, b""),
}
RECORDS = random_reads(12, 30)


def members(container: str, fmt: str) -> list[bytes]:
    """Return a file of four members, borders within lines, the last one its end mark if any."""
    compress, end = CONTAINERS[container]
    content = FORMATS[fmt](RECORDS)
    return [*(compress(content[i : i + 300]) for i in range(0, len(content), 300)), end]


def outcome(content: bytes) -> list[Record] | str:
    """Return the records of a file, or the one line that it is refused with."""
    found, told = outcomes(content)
    return told or found


def outcomes(content: bytes) -> tuple[list[Record], str]:
    """Return the records that come of a file, and the one line that it is refused with, if any."""
    found: list[Record] = []
    told = ""
    try:
        found.extend(SequenceOf(content))
    except InputError as error:
        told = str(error)
    assert not told or (told.startswith("a file: ") and told.isprintable())
    return found, told


class SequenceOf(SequenceFile):
    """A file in memory."""

    def __init__(self, content: bytes) -> None:
        self._stored_content = content
        super().__init__("a file")

    def _open_raw(self, _: object) -> io.BytesIO:
        return io.BytesIO(self._stored_content)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_cut_or_flipped_at_any_byte(container: str, fmt: str) -> None:
    """A file is whole, or it is refused; where a cut leaves whole members nothing can tell."""
    parts = members(container, fmt)
    whole = b"".join(parts)
    assert outcome(whole) == RECORDS
    borders = set() if container == "bgzip" else set(accumulate(map(len, parts)))
    for size in range(1, len(whole)):
        found, told = outcomes(whole[:size])
        assert told or size in borders
        assert found == RECORDS[: len(found)] or size in borders
    for place in range(len(whole)):
        for bit in (1, 0x80):
            flipped = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
            found, told = outcomes(flipped)
            assert told or found == RECORDS, (place, bit)


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_follows_the_last_member(container: str) -> None:
    whole = b"".join(members(container, "fastq"))
    assert isinstance(outcome(whole + b"rubbish"), str)
    assert isinstance(outcome(whole + b"rubbish" * 40_000), str)
    with_zeros = outcome(whole + bytes(200_000))
    if container in ("bz2", "zst"):
        assert "after record 12: cannot be read (other data follows the" in with_zeros
    else:
        assert with_zeros == RECORDS


def test_zeros_between_members_of_xz_come_in_fours() -> None:
    first, *others = members("xz", "fasta")
    assert outcome(bytes(8).join([first, *others])) == RECORDS
    assert "the zero padding after the compressed data" in outcome(
        first + bytes(3) + b"".join(others)
    )


def test_members_of_other_kinds() -> None:
    """Frames that zstd passes over, empty members, and plain gzip behind bgzip."""
    skipped = b"\x5a\x2a\x4d\x18\x04\x00\x00\x00text"
    assert outcome(skipped + skipped.join(members("zst", "fastq"))) == RECORDS
    parts, gz = members("bgzip", "fastq"), members("gz", "fastq")
    assert outcome(b"".join([*parts[:2], BGZF_END, *gz[2:]])) == RECORDS
    assert outcome(gzip.compress(b"").join(gz)) == RECORDS
    assert "the last block of a bgzip or BAM file is missing" in outcome(
        b"".join([*gz[:2], *parts[2:-1]])
    )


def test_a_bomb_is_read_piece_by_piece() -> None:
    """However much a few bytes unpack to, no more is made than is asked for."""
    for compress in (gzip.compress, bz2.compress, lzma.compress, zstd.compress):
        content = decompressed(StoredBytes(io.BytesIO(compress(bytes(5_000_000)))))
        assert max(len(content.read(1000)) for _ in range(100)) <= 1000


@pytest.mark.parametrize("container", ["gz", "bgzip"])
def test_the_same_without_isal(monkeypatch: pytest.MonkeyPatch, container: str) -> None:
    """Where isal is not made for a machine, zlib reads and checks the same."""
    monkeypatch.setattr(decompression, "igzip_lib", None)
    whole = b"".join(members(container, "fastq"))
    assert outcome(whole) == RECORDS
    assert isinstance(outcome(whole[:-9]), str)
    for place in range(0, len(whole), 3):
        flipped = outcome(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert isinstance(flipped, str) or flipped == RECORDS


def changed_while_read(path: Path, change: Callable[[Path], object]) -> str:
    """Return what reading a file fails with when it changes after the first record."""
    with pytest.raises(InputError) as caught, SequenceFile(str(path)) as file:  # noqa: PT012
        reads = file.reads()
        next(reads)
        change(path)
        list(reads)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, *, packed: bool) -> None:
    """It grows, shrinks, or is written over."""
    content = FORMATS["fastq"](random_reads(6_000, 100))
    content = gzip.compress(content, 1) if packed else content
    changes: list[Callable[[Path], object]] = [
        lambda path: path.write_bytes(content + content),
        lambda path: os.truncate(path, len(content) // 2),
        lambda path: os.truncate(path, len(content) - 1),
        lambda path: path.write_bytes(content[::-1]),
    ]
    for change in changes:
        path = write(tmp_path / "a", content)
        told = "changed while it was read; rerun when nothing writes to it"
        assert changed_while_read(path, change) == f"{path}: {told}"


@pytest.mark.parametrize("length", [0, 1, 2])
def test_reads_of_few_bases(tmp_path: Path, length: int) -> None:
    """Also those that libraries in C read: one letter is an object that a process shares."""
    letters, qualities = "GT"[:length], "5J"[:length]
    lines = [Line("a", 4, letters, qualities), Line("b", 0x10, letters, qualities)]
    lines += [Line("c", 4, letters, ""), Line("d", 4, "ACGT", "IIII")]
    expected = [(letters, qualities), ("AC"[2 - length :], qualities[::-1])]
    expected += [(letters, ""), ("ACGT", "IIII")]
    with SequenceFile(write_bam(tmp_path / "a.bam", lines)) as file:
        found = [(each.record.sequence, each.qualities) for each in file.reads()]
    assert found == expected
    assert [chr(number) for number in range(256)] == list(bytes(range(256)).decode("latin-1"))
    for fmt in FORMATS:
        records = [Record("a", letters), Record("b", "ACGT"), Record("c", letters)]
        assert read(write(tmp_path / "a", FORMATS[fmt](records))) == records


def test_standard_input_that_does_not_wait() -> None:
    """Whoever started the program may have set its pipe to say nothing instead of waiting."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    content = gzip.compress(FORMATS["fastq"](RECORDS))

    def feed() -> None:
        for piece in (content[:1], content[1:9], content[9:]):
            pause.wait(0.3)
            os.write(writable, piece)
        os.close(writable)

    pause = threading.Event()
    feeder = threading.Thread(target=feed)
    feeder.start()
    code = "from virnucpro.sequences import SequenceFile; print(len(list(SequenceFile('-'))))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdin=readable, capture_output=True, check=False, text=True)
    feeder.join()
    os.close(readable)
    assert (done.stdout, done.stderr) == ("12\n", "")


def test_bam_cut_at_any_block(tmp_path: Path) -> None:
    """pysam and this reader agree about whole files, and none that is cut passes."""
    lines = [Line(f"r{i}", 4, each.sequence, "") for i, each in enumerate(random_reads(3000, 90))]
    path = Path(write_bam(tmp_path / "a.bam", lines))
    whole = path.read_bytes()
    borders, place = [], 0
    while place < len(whole):
        place += int.from_bytes(whole[place + 16 : place + 18], "little") + 1
        borders.append(place)
    assert len(borders) > 3
    for border in borders[:-1]:
        write(path, whole[:border])
        with (
            pytest.raises(InputError, match="is missing, after record"),
            SequenceFile(str(path)) as file,
        ):
            list(file)
    with pysam.AlignmentFile(str(write(path, whole)), check_sq=False) as file:
        assert sum(1 for _ in file) == len(read(path)) == 3000
