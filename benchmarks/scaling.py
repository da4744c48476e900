"""The whole command on one device and on several: frames/s, and whether the bytes are the same.

    python benchmarks/scaling.py /tmp/work --devices cuda:0 --devices cuda:0,cuda:1 --json s.json

Weights are random, with the sizes of ESM-2 3B and DNABERT-S, and reads are such that their first
forward frame has no stop. Every run is a process of its own, started with nothing but the file.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from load import write
from virnucpro.bench.random_inputs import SAMPLES, random_reads

_TABLES = (
    "frames.tsv", "chunks.tsv", "records.tsv", "scores.bedgraph", "regions.gff3", "regions.bed",
    "viral.fasta",
)  # fmt: skip


def main() -> None:
    """Run each precision on each list of devices, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="for the bundle, the reads and the results")
    parser.add_argument("--sizes", default="3b")
    parser.add_argument("--devices", action="append", required=True, help="several: one run each")
    parser.add_argument("--precision", action="append", help="several: one run each; fp16")
    parser.add_argument("--sample", choices=list(SAMPLES), default="150 bp")
    parser.add_argument("--reads", type=int, default=150_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    directory, sample = arguments.directory, arguments.sample
    directory.mkdir(parents=True, exist_ok=True)
    reads = directory / f"{sample.replace(' ', '')}-{arguments.reads}.fastq.gz"
    bundle = directory / f"bundle-{arguments.sizes}"
    if not reads.exists():
        write_reads(reads, sample, arguments.reads)
    if not bundle.exists():
        write(bundle, arguments.sizes, arguments.devices[0].split(",")[0])
    found: list[dict[str, Any]] = []
    for precision in arguments.precision or ["fp16"]:
        for devices in arguments.devices:
            found.append(one_run(directory / "out", reads, bundle, devices, precision, sample))
            first = next(run for run in found if run["precision"] == precision)
            found[-1]["times the first"] = round(rate(found[-1]) / rate(first), 3)
            found[-1]["same bytes"] = found[-1]["sha256"] == first["sha256"]
            print(found[-1], flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def write_reads(path: Path, sample: str, count: int) -> None:
    """Write random reads as FASTQ.gz."""
    chunk_length = SAMPLES[sample][1]
    with gzip.open(path, "wt", compresslevel=1) as file:
        for i, read in enumerate(random_reads(sample, count)):
            file.write(f"@read{i}\n{read[:chunk_length]}\n+\n{'I' * len(read)}\n")


def one_run(
    out: Path, reads: Path, bundle: Path, devices: str, precision: str, sample: str
) -> dict[str, Any]:
    """Run the command once."""
    shutil.rmtree(out, ignore_errors=True)
    options = ["--bundle", bundle, "--device", devices, "--precision", precision, "-o", out]
    options += ["--chunk-length", SAMPLES[sample][1]]
    started = time.perf_counter()
    subprocess.run(  # noqa: S603 (this package)
        [sys.executable, "-m", "virnucpro", "predict", str(reads), *map(str, options)],
        check=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    wall = time.perf_counter() - started
    summary = json.loads((out / "summary.json").read_bytes())
    run = json.loads((out / "run.json").read_bytes())
    seconds, workers = summary["seconds"], len(devices.split(","))
    on_device = sum(seconds[stage] for stage in ("protein encoder", "DNA encoder", "head"))
    digest = hashlib.sha256()
    for name in _TABLES:
        digest.update((out / name).read_bytes())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "devices": devices,
        "kind": summary["device"],
        "precision": precision,
        "sample": sample,
        "records": summary["records"],
        "frames": summary["open_frames"],
        "wall seconds": round(wall, 2),
        "frames/s": round(summary["open_frames"] / seconds["scoring"], 1),
        "frames/s, start and tables included": round(summary["open_frames"] / wall, 1),
        "share of the time that devices compute": round(
            on_device / workers / seconds["scoring"], 4
        ),
        "budgets": run["budgets"],
        "seconds": seconds,
        "sha256": digest.hexdigest(),
    }


def rate(run: dict[str, Any]) -> float:
    """Return a run's frames a second."""
    return float(run["frames/s"])


if __name__ == "__main__":
    main()
