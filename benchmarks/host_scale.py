"""The host's side of a run of millions of reads: encoders are replaced by a constant.

    python benchmarks/host_scale.py /tmp/work --reads 5000000 --workers 4 --json host.json

The command runs as users run it, with a worker process for each of `--workers` CPUs; only the
networks are left out, so what is measured is reading, cutting, translating, tokenizing, shards and
tables. Resident memory of every process is read each second.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np
import psutil
from numpy.typing import NDArray

#: Put on the workers' path: scores are the same for each frame.
_CONSTANT = """
import sys
if "virnucpro.runs.executors.processes" in sys.orig_argv:
    import torch
    from virnucpro.prediction.worker import Worker
    def scores(self, model, protein, dna, clock):
        rows = len(protein.offsets) - 1
        return torch.tensor([[0.75, 0.25]]).repeat(rows, 1)
    Worker._compute = scores
"""
_LENGTH = 150
_BATCH = 100_000


def main() -> None:
    """Write the reads, run the command, print and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--reads", type=int, default=5_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    reads = directory / f"{arguments.reads}.fastq.gz"
    if not reads.exists():
        write_reads(reads, arguments.reads)
    (directory / "sitecustomize.py").write_text(_CONSTANT)
    result = measured(directory, reads, arguments.workers)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def write_reads(path: Path, count: int) -> None:
    """Write reads of coding sequence, so that most have an open frame, with binned qualities."""
    random = np.random.default_rng(0)
    codons = np.array([c for c in _all_codons() if c not in {"TAA", "TAG", "TGA"}], dtype="U3")
    qualities = np.array(["F" * 50, "F" * 40 + ":" * 10, "," * 50])
    with gzip.open(path, "wt", compresslevel=1) as file:
        for start in range(0, count, _BATCH):
            _write_batch(file, start, min(_BATCH, count - start), random, codons, qualities)


def _write_batch(
    file: IO[str],
    start: int,
    count: int,
    random: np.random.Generator,
    codons: NDArray[np.str_],
    qualities: NDArray[np.str_],
) -> None:
    bases = random.choice(codons, (count, _LENGTH // 3)).tolist()
    scores = random.choice(qualities, (count, 3)).tolist()
    file.writelines(
        f"@A00123:45:HXXXX:1:1101:{start + i}:1000 1:N:0\n{''.join(b)}\n+\n{''.join(q)}\n"
        for i, (b, q) in enumerate(zip(bases, scores, strict=True))
    )


def _all_codons() -> list[str]:
    return [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]


def measured(directory: Path, reads: Path, workers: int) -> dict[str, object]:
    """Run the command once and watch its processes."""
    out = directory / "out"
    shutil.rmtree(out, ignore_errors=True)
    options = ["-o", out, "--device", ",".join(["cpu"] * workers), "--chunk-length", "300"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            [str(directory), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    }
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 (this package)
        [sys.executable, "-m", "virnucpro", "predict", str(reads), "-q", *map(str, options)],
        env=environment,
    )
    memory = watch(process)
    wall = time.perf_counter() - started
    summary = json.loads((out / "summary.json").read_bytes())
    seconds = summary["seconds"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "workers": workers,
        "reads": summary["records"],
        "frames": summary["open_frames"],
        "wall seconds": round(wall, 1),
        "reads/s while scoring": round(summary["records"] / seconds["scoring"]),
        "frames/s while scoring": round(summary["open_frames"] / seconds["scoring"]),
        "seconds": seconds,
        "memory in MiB: a tenth of the way, nine tenths, most": memory,
    }


def watch(process: "subprocess.Popen[bytes]") -> dict[str, list[int]]:
    """Return resident memory of the parent and of each worker until the command ends."""
    seen: dict[int, list[int]] = defaultdict(list)
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            for one in [parent, *parent.children(recursive=True)]:
                seen[one.pid].append(one.memory_info().rss >> 20)
        except psutil.NoSuchProcess:
            pass
        time.sleep(1)
    if process.returncode:
        raise SystemExit(process.returncode)
    names = ["parent", *(f"worker {i + 1}" for i in range(len(seen) - 1))]
    return {
        name: [sizes[len(sizes) // 10], sizes[9 * len(sizes) // 10], max(sizes)]
        for name, sizes in zip(names, seen.values(), strict=True)
    }


if __name__ == "__main__":
    main()
