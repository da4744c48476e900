"""FASTA and FASTQ files of every compression, to write and read back."""

import bz2
import gzip
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path

from virnucpro.sequences import Record, SequenceFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compress = Callable[[bytes], bytes]


def zst(data: bytes) -> bytes:
    """Compress with a checksum, as the zstd program does."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESSIONS: dict[str, Compress] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": lambda data: bz2.compress(data, compresslevel=1),
    "xz": lzma.compress,
    "zst": zst,
}
PACKED = [name for name in COMPRESSIONS if name != "plain"]
READS = [
    Record("r1 first", "ACGTACGTNN"),
    Record("r2\tx=1", "ggccttaa"),
    Record("r3", "ACGTURYSWKMBDHVN-"),
]


def fasta(records: list[Record], width: int = 7, newline: str = "\n") -> bytes:
    """Write FASTA with `width` letters a line."""
    lines = []
    for header, sequence in records:
        lines.append(f">{header}")
        lines += [sequence[i : i + width] for i in range(0, len(sequence), width)]
    return (newline.join(lines) + newline).encode()


def fastq(records: list[Record], newline: str = "\n", *, second_header: bool = False) -> bytes:
    lines = []
    for header, sequence in records:
        plus = f"+{header}" if second_header else "+"
        lines += [f"@{header}", sequence, plus, "I" * len(sequence)]
    return (newline.join(lines) + newline).encode()


FORMATS: dict[str, Callable[[list[Record]], bytes]] = {"fasta": fasta, "fastq": fastq}


def random_reads(count: int, length: int) -> list[Record]:
    letters = random.Random(5)
    return [Record(f"r{i}", "".join(letters.choices("ACGT", k=length))) for i in range(count)]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def read(path: Path) -> list[Record]:
    with SequenceFile(str(path)) as file:
        return list(file)
