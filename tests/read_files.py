"""Pairs, FASTQ with qualities and BAM, to write and read back."""

import random
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pysam
import pytest

from virnucpro.sequences.fragments import PLAIN, FragmentReader, ReadOptions, Source

needs_samtools = pytest.mark.skipif(
    shutil.which("samtools") is None, reason="samtools is not on PATH (apt install samtools)"
)


class Fastq(NamedTuple):
    """A read with its qualities."""

    header: str
    letters: str
    qualities: str

    @property
    def text(self) -> str:
        """The read as FASTQ."""
        return f"@{self.header}\n{self.letters}\n+\n{self.qualities}\n"


def made_reads(count: int, length: int, header: str, seed: int = 1) -> list[Fastq]:
    """Return random reads; `header` takes their number."""
    made = random.Random(seed)
    qualities = [chr(33 + quality) for quality in range(2, 41)]
    return [
        Fastq(
            header.format(number),
            "".join(made.choices("ACGTN", (5, 5, 5, 5, 1), k=length)),
            "".join(made.choices(qualities, k=length)),
        )
        for number in range(count)
    ]


def made_pairs(count: int, length: int) -> tuple[list[Fastq], list[Fastq]]:
    """Return mates 1 and 2 of pairs, named as Casava does."""
    first = made_reads(count, length, "f{} 1:N:0:ACGT", 1)
    return first, made_reads(count, length - 20, "f{} 2:N:0:ACGT", 2)


def write_fastq(path: Path, reads: list[Fastq]) -> str:
    path.write_text("".join(read.text for read in reads))
    return str(path)


def in_turn(first: list[Fastq], second: list[Fastq]) -> list[Fastq]:
    return [read for pair in zip(first, second, strict=True) for read in pair]


class Line(NamedTuple):
    """A line of a BAM file that is not aligned."""

    name: str
    flag: int
    letters: str
    qualities: str
    tags: tuple[tuple[str, int | str], ...] = ()


def write_bam(path: Path, lines: list[Line], mode: str = "wb") -> str:
    """Write a BAM file with one reference, as an aligner's, and a read group."""
    header = {
        "HD": {"VN": "1.6", "SO": "unknown"},
        "SQ": [{"SN": "chr1", "LN": 1000}],
        "RG": [{"ID": "lane1", "SM": "sample"}],
        "PG": [{"ID": "sequencer", "PN": "sequencer", "VN": "3"}],
    }
    with pysam.AlignmentFile(path, mode, header=header) as out:
        for line in lines:
            alignment = pysam.AlignedSegment(out.header)
            alignment.query_name, alignment.flag = line.name, line.flag
            alignment.query_sequence = line.letters
            if line.qualities:
                alignment.query_qualities_str = line.qualities
            if not line.flag & 4:
                alignment.reference_id, alignment.reference_start = 0, 10
                alignment.cigarstring = f"{len(line.letters)}M"
            alignment.set_tags([("RG", "lane1"), *line.tags])
            out.write(alignment)
    return str(path)


def paired_lines(first: list[Fastq], second: list[Fastq]) -> list[Line]:
    """Return the lines of unaligned pairs."""
    return [
        Line(read.header.split()[0], flag, read.letters, read.qualities, (("RX", f"UMI{flag}"),))
        for pair in zip(first, second, strict=True)
        for read, flag in zip(pair, (77, 141), strict=True)
    ]


def bam_lines(path: Path | str) -> list[str]:
    """Return the lines of a BAM file as text."""
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        return [line.to_string() for line in file]


def fragments_of(source: Source, options: ReadOptions = PLAIN) -> list[list[str]]:
    """Return id, mate, letters and qualities of each read of each fragment, as one text."""
    return [
        [f"{m.id} {m.mate} {m.record.sequence} {m.read.qualities}" for m in fragment]
        for fragment in FragmentReader([source], "dna", options)
    ]


def samtools(*arguments: str | Path) -> str:
    """Run samtools; return what it writes."""
    command = ["samtools", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
