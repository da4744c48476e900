"""From published files of true size to predictions: what each step takes, in time and memory.

    python benchmarks/rehearsal.py /tmp/work --model 3B --json rehearsal.json
    python benchmarks/rehearsal.py /tmp/work --model 15B --layout fair-esm --precision int8

`--device-memory 24` leaves 24 GiB of the GPU free. Weights are random, in the files and under the
names in which they are published. `models add` makes the bundle of them, `predict` runs it; each
is a process of its own, whose memory is read ten times a second: what it holds alone (anonymous)
and what it maps of files.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from checkpoints import SIZES, write_dnabert_s, write_fair_esm, write_head, write_transformers
from scaling import write_reads
from virnucpro.bench.random_inputs import SAMPLES


def main() -> None:
    """Write the files, add the bundle, predict with each precision, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--model", choices=list(SIZES), default="3B")
    parser.add_argument("--layout", choices=("transformers", "fair-esm"), default="transformers")
    parser.add_argument("--precision", action="append", help="several: one run each; auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--device-memory", type=float, help="GiB; the rest is taken away")
    parser.add_argument("--sample", choices=list(SAMPLES), default="500 bp")
    parser.add_argument("--reads", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    directory = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["VIRNUCPRO_HOME"] = str(directory / "home")
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": arguments.model,
        "layout": arguments.layout,
    }
    name = f"random-{arguments.model}"
    if not (directory / "home" / name).exists():
        found["add"] = added(directory, name, arguments.model, arguments.layout)
    sample = arguments.sample
    reads = directory / f"{sample.replace(' ', '')}-{arguments.reads}.fastq.gz"
    if not reads.exists():
        write_reads(reads, sample, arguments.reads)
    found["predict"] = []
    with only(arguments.device_memory) as taken:
        for precision in arguments.precision or ["auto"]:
            out = directory / "out"
            shutil.rmtree(out, ignore_errors=True)
            options = ["--bundle", name, "--precision", precision, "--device", arguments.device]
            options += ["-o", out, "--chunk-length", SAMPLES[sample][1]]
            run = measured("predict", reads, *options)
            found["predict"].append(run | of_run(out, taken))
            print(found["predict"][-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def added(directory: Path, name: str, model: str, layout: str) -> dict[str, Any]:
    """Write published files and make a bundle of them."""
    size = SIZES[model]
    started = time.perf_counter()
    files = directory / "files"
    esm2 = files / "esm2" if layout == "transformers" else files / "esm2.pt"
    (write_transformers if layout == "transformers" else write_fair_esm)(esm2, size)
    write_dnabert_s(files / "DNABERT-S")
    write_head(files / "head.pth", size)
    written = time.perf_counter() - started
    options = (name, esm2, files / "DNABERT-S", files / "head.pth", "--chunk-length", 500)
    found = measured("models", "add", *options)
    found["files written in"] = round(written, 1)
    found["GiB of files"] = _gib(sum(f.stat().st_size for f in files.rglob("*") if f.is_file()))
    bundle = directory / "home" / name
    found["GiB of the bundle"] = _gib(sum(f.stat().st_size for f in bundle.iterdir()))
    shutil.rmtree(files)
    print(found, flush=True)
    return found


def measured(*arguments: object) -> dict[str, Any]:
    """Run the command; return seconds and the most memory it held."""
    own, mapped = [0], [0]
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 (this package)
        [sys.executable, "-m", "virnucpro", *map(str, arguments)]
    )
    while process.poll() is None:
        held = [_held(p) for p in _family(process.pid)]
        own.append(sum(anonymous for anonymous, _ in held))
        mapped.append(sum(files for _, files in held))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{arguments}: status {process.returncode}")
    return {
        "command": " ".join(map(str, arguments[:2])),
        "seconds": round(time.perf_counter() - started, 1),
        "GiB of memory, its own": _gib(max(own)),
        "of it in each quarter of the time": [_gib(max(part)) for part in _quarters(own)],
        "GiB of memory, mapped files": _gib(max(mapped)),
    }


def of_run(out: Path, taken: float) -> dict[str, Any]:
    """Return what a run says of itself; `taken` are GiB of the device that others hold."""
    summary, run = (json.loads((out / f"{name}.json").read_bytes()) for name in ("summary", "run"))
    frames = summary["open_frames"]
    on_device = (run["devices"][0].get("memory_gib") or {}).get("p95")
    return {
        "precision": summary["precision"],
        "kind": summary["device"],
        "ways": run["ways"],
        "budgets": run["budgets"],
        "frames": frames,
        "frames/s": round(frames / summary["seconds"]["scoring"], 1),
        "protein tokens and DNA tokens/s": summary["tokens_per_second"],
        "GiB on the device": on_device and round(on_device - taken, 2),
        "seconds of start-up": summary["seconds"]["start-up"],
    }


@contextmanager
def only(gib: float | None) -> Iterator[float]:
    """Leave so much of the GPU's memory free; gives how many GiB are taken."""
    if gib is None:
        yield 0.0
        return
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, free - int(gib * 2**30)), dtype=torch.uint8, device="cuda")
    free, total = torch.cuda.mem_get_info()
    yield (total - free) / 2**30
    del held


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> tuple[int, int]:
    """Return bytes of anonymous memory and of mapped files that are resident."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    found = dict(line.split(":", 1) for line in lines if line.startswith("Rss"))
    anonymous, files = (int(found.get(n, "0 kB").split()[0]) << 10 for n in ("RssAnon", "RssFile"))
    return anonymous, files


def _quarters(samples: list[int]) -> list[list[int]]:
    size = -(-len(samples) // 4)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _gib(size: float) -> float:
    return round(size / 2**30, 2)


if __name__ == "__main__":
    main()
