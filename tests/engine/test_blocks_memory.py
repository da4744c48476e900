"""What blocks of long reads take."""

import subprocess
import sys
from pathlib import Path

from read_files import made_reads, write_fastq


def test_reads_in_and_out_need_flat_memory(tmp_path: Path) -> None:
    """Blocks of 100 kb reads hold a few of them, however many there are."""
    code = (
        "import sys, tracemalloc; from virnucpro.engine.blocks import cut_blocks;"
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
