"""What blocks of long reads take."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

from read_files import made_reads, write_fastq
from virnucpro.sequences.nucleotides import base_counts


def test_reads_in_and_out_need_flat_memory(tmp_path: Path) -> None:
    """Blocks of 100 kb reads hold a few of them, however many there are."""
    code = (
        "import sys, tracemalloc; from virnucpro.sequences.blocks import cut_blocks;"
        "from virnucpro.sequences.fragments import ReadOptions; tracemalloc.start();"
        "blocks = cut_blocks(sys.argv[1:], 500, 64, ReadOptions(fastq=True));"
        "print(sum(1 for block in blocks if block.digest()), tracemalloc.get_traced_memory()[1])"
    )
    read = made_reads(1, 100_000, "r")[0]
    peaks = []
    for count in (20, 200):
        path = write_fastq(
            tmp_path / f"{count}.fq", [read._replace(header=f"r{i}") for i in range(count)]
        )
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
        blocks, peak = map(int, done.stdout.split())
        assert blocks >= count * 200 / 64
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 1_000_000 < 9_000_000


def test_counting_bases_takes_no_more_than_the_longest_sequence() -> None:
    """As of a block of contigs that cannot be processed, which holds all of their letters."""
    letters = [b"ACgtNX-u" * 50_000, b"", b"g"] * 30
    tracemalloc.start()
    counts = base_counts(letters)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts.tolist() == [[100_000, 250_000], [0, 0], [1, 1]] * 30  # U is a base
    assert peak < 2 * len(letters[0])
