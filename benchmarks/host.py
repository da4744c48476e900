"""Speed of the host's side on one core: from a FASTQ.gz file to the tokens of both encoders.

    python benchmarks/host.py READS.fa.gz [--reads 100000] [--chunk-length 300] [--json FILE]

The records of READS are repeated into a temporary FASTQ.gz with random binned qualities. One
process pinned to one core then reads it, cuts blocks and prepares each as a worker does. Reading
is timed once more alone, to tell it from the cutting of blocks. At the end DNABERT-S's tokenizer
as built here is compared with the published one on the distinct DNA of the same open frames, each
built anew every time, so that none remembers a sequence.
"""

import argparse
import gzip
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer

from virnucpro.encoders import DnaTokenizer, protein_tokens
from virnucpro.runs.work import Work
from virnucpro.sequences import Nucleotides, SequenceFile, chunk_records, find_frames
from virnucpro.sequences.blocks import Block, cut_blocks

TOKENIZER = Path(__file__).parents[1] / "tests" / "data" / "dnabert_s.tokenizer.json"
COMPARED_SEQUENCES = 20_000
COMPARISONS = 3


class Counts(NamedTuple):
    """What the measured reads became.

    Attributes:
        reads: records read.
        bases: their letters.
        frames: open frames.
        protein_tokens: tokens of the frames' proteins.
        dna_tokens: tokens of the frames' nucleotides.
    """

    reads: int
    bases: int
    frames: int
    protein_tokens: int
    dna_tokens: int


class Host:
    """The host's side of a run, with the time of each stage.

    Args:
        tokenizer: DNABERT-S's tokenizer.
        chunk_length: bases of a chunk.
    """

    def __init__(self, tokenizer: DnaTokenizer, chunk_length: int) -> None:
        self._tokenizer = tokenizer
        self._chunk_length = chunk_length
        self.work = Work()
        self.dna: list[str] = []

    def run(self, path: Path) -> Counts:
        """Prepare every block of a file."""
        blocks = cut_blocks([str(path)], self._chunk_length)
        found: list[Counts] = []
        while True:
            with self.work.timed("reading and blocks"):
                block = next(blocks, None)
            if block is None:
                return Counts(*map(sum, zip(*found, strict=True)))
            found.append(self._prepare(block))

    def _prepare(self, block: Block) -> Counts:
        with self.work.timed("digest"):
            block.digest()
        with self.work.timed("chunks and frames"):
            sequences = Nucleotides.join([piece.sequence for piece in block.pieces])
            lengths = sequences.offsets[1:] - sequences.offsets[:-1]
            chunks = chunk_records(lengths, self._chunk_length)
            shift = sequences.offsets[chunks.record]
            frames = find_frames(sequences, chunks.start + shift, chunks.end + shift)
        with self.work.timed("protein tokens"):
            protein = protein_tokens(frames.residues, frames.protein_offsets)
        with self.work.timed("DNA tokens"):
            dna = self._tokenizer(frames.dna)
        self.dna += frames.dna[: COMPARED_SEQUENCES - len(self.dna)]
        return Counts(
            len(block.pieces), int(lengths.sum()), len(frames.dna), len(protein.ids), len(dna.ids)
        )


def write_reads(source: Path, count: int, target: Path) -> None:
    """Repeat the records of `source` into a FASTQ.gz of `count` reads."""
    draw = random.Random(1)  # noqa: S311 - qualities, not secrets
    with SequenceFile(str(source)) as file:
        records = list(file)
    with gzip.open(target, "wt", compresslevel=6) as out:
        for number, record in enumerate(islice(cycle(records), count)):
            quality = "".join(draw.choices("F:,#", (85, 8, 5, 2), k=len(record.sequence)))
            out.write(f"@{record.id}.{number}\n{record.sequence}\n+\n{quality}\n")


def seconds_of(action: Callable[[], object]) -> float:
    """Return how long `action` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def read_all(path: Path) -> int:
    """Read a file and do nothing with its records."""
    with SequenceFile(str(path)) as file:
        return sum(1 for _ in file)


def stage_seconds(measured: dict[str, float], reading: float) -> dict[str, float]:
    """Tell reading from the cutting of blocks."""
    rest = dict(measured)
    blocks = rest.pop("reading and blocks") - reading
    return {"reading": reading, "blocks": blocks, **rest}


def compare_tokenizers(tokenizer_json: bytes, dna: list[str]) -> dict[str, float]:
    """Return the sequences per second of both tokenizers, each at its best of several times."""
    distinct = list(dict.fromkeys(dna))
    times = [time_tokenizers(tokenizer_json, distinct) for _ in range(COMPARISONS)]
    here, there = (len(distinct) / min(column) for column in zip(*times, strict=True))
    return {"sequences": len(distinct), "here": here, "published": there, "ratio": here / there}


def time_tokenizers(tokenizer_json: bytes, dna: list[str]) -> tuple[float, float]:
    """Return the seconds of the tokenizer here and of the published one, both new."""
    ours, published = DnaTokenizer(tokenizer_json), Tokenizer.from_str(tokenizer_json.decode())
    found: list[int] = []
    expected: list[int] = []
    here = seconds_of(lambda: found.extend(ours(dna).ids.tolist()))
    there = seconds_of(
        lambda: expected.extend(i for e in published.encode_batch_fast(dna) for i in e.ids)
    )
    if found != expected:
        raise SystemExit("the two tokenizers disagree")
    return here, there


def processor() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def use_one_core() -> None:
    """Keep this process, and whatever threads it starts, on one core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def measure(
    source: Path, reads: int, chunk_length: int, tokenizer_json: bytes
) -> dict[str, object]:
    """Measure everything and return it by name."""
    host = Host(DnaTokenizer(tokenizer_json), chunk_length)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "reads.fastq.gz"
        write_reads(source, reads, path)
        reading = seconds_of(lambda: read_all(path))
        started, cpu_started = time.perf_counter(), time.process_time()
        counts = host.run(path)
        passed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    return {
        "processor": processor(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "tokenizers", "isal")},
        "source": source.name,
        "chunk_length": chunk_length,
        **counts._asdict(),
        "seconds": passed,
        "cpu_share": cpu / passed,
        "reads_per_second": counts.reads / passed,
        "reads_per_cpu_second": counts.reads / cpu,
        "stage_seconds": stage_seconds(host.work.seconds, reading),
        "tokenizer_sequences_per_second": compare_tokenizers(tokenizer_json, host.dna),
    }


def print_table(found: dict[str, object]) -> None:
    """Print what was measured."""
    stages, tokenizers = found["stage_seconds"], found["tokenizer_sequences_per_second"]
    assert isinstance(stages, dict)  # noqa: S101 - for the type checker
    assert isinstance(tokenizers, dict)  # noqa: S101 - for the type checker
    print(
        f"{found['reads']} reads, {found['bases']} bases, {found['frames']} open frames on one "
        f"core of {found['processor']}"
    )
    print(
        f"{found['reads_per_second']:.0f} reads/s; {found['reads_per_cpu_second']:.0f} per CPU "
        f"second ({found['seconds']:.2f} s, {found['cpu_share']:.0%} of them on the core)"
    )
    for stage, seconds in stages.items():
        print(f"  {stage:<18} {seconds:6.2f} s  {seconds / sum(stages.values()):6.1%}")
    print(
        f"DNA tokenizer: {tokenizers['here']:.0f} sequences/s, published "
        f"{tokenizers['published']:.0f}, ratio {tokenizers['ratio']:.2f}"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="FASTA or FASTQ whose records are repeated")
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--chunk-length", type=int, default=300)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="its tokenizer.json")
    parser.add_argument("--json", type=Path, help="where to write all of it")
    options = parser.parse_args()
    use_one_core()
    tokenizer_json = options.tokenizer.read_bytes()
    found = measure(options.source, options.reads, options.chunk_length, tokenizer_json)
    print_table(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
