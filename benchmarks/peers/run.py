"""Other programs on the same labelled reads: accuracy beside time and memory.

    python benchmarks/peers/run.py DIRECTORY READS.fa.gz LABELS.tsv --peer deepmicroclass virnucpro

Each peer runs in a virtual environment of its own under DIRECTORY, made of the versions in
deepmicroclass.txt, jaeger.txt and seeker.txt; virnucpro in the one in use. All run on the CPU, as
a command that a user would give, on all cores. Start-up is the time for a few reads. Each time is
the least of several: a program whose threads wait for each other slows down many times over where
another one takes a core (`others` in the JSON tells how many cores others took). Accuracy is what
`virnucpro evaluate` gives: a read without a score ranks lowest.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import psutil
from programs import PEERS, Task

import virnucpro
from virnucpro.evaluation.result import Estimate
from virnucpro.sequences import Record, SequenceFile

#: Reads that tell start-up from work.
FEW = 8
#: Seconds between two looks at the memory.
TICK = 0.1


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        wall: seconds.
        cpu: seconds, user and system, of all its processes.
        gib: most memory resident at once, added up over its processes.
        others: cores that other programs took meanwhile.
    """

    wall: float
    cpu: float
    gib: float
    others: float


class FailedError(Exception):
    """A program ended with an error: the last line that it wrote."""


def environment(directory: Path, name: str, python: str) -> Path:
    """Make a peer's environment unless it is there; return where its commands are."""
    if name == "virnucpro":
        return Path(sys.executable).parent
    wanted = Path(__file__).with_name(f"{name}.txt")
    place = directory / name
    made_of = place / wanted.name
    if not made_of.exists() or made_of.read_bytes() != wanted.read_bytes():
        print(f"installing {name} in {place}", flush=True)
        install = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", wanted]
        for command in ([python, "-m", "venv", "--clear", place], install):
            subprocess.run(list(map(str, command)), check=True)  # noqa: S603 (pinned above)
        made_of.write_bytes(wanted.read_bytes())
    return place / "bin"


def write_reads(records: Iterable[Record], path: Path) -> Path:
    """Write plain FASTA with numbers for names, which every program leaves as they are."""
    with path.open("w") as file:
        file.writelines(f">r{i}\n{record.sequence}\n" for i, record in enumerate(records))
    return path


def timed(command: list[object], log: Path) -> Cost:
    """Run a command and measure it.

    Raises:
        FailedError: when its status is not 0.
    """
    most = 0
    started = _Clocks.now()
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 (one of the commands above)
            list(map(str, command)),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        )
        while process.poll() is None:
            most = max(most, _resident(process.pid))
            time.sleep(TICK)
    if process.returncode:
        lines = log.read_text(errors="replace").split("\n")
        raise FailedError(next((line for line in reversed(lines) if line.strip()), "no output"))
    wall, children, here, all_of_them = map(float.__sub__, _Clocks.now(), started)
    return Cost(wall, children, most / 2**30, max(0.0, all_of_them - children - here) / wall)


class _Clocks(NamedTuple):
    """Seconds: of the wall, and of the CPU by ended children, by this process and by all."""

    wall: float
    children: float
    here: float
    all_of_them: float

    @classmethod
    def now(cls) -> "_Clocks":
        own, machine = os.times(), psutil.cpu_times()
        return cls(
            time.perf_counter(),
            own.children_user + own.children_system,
            own.user + own.system,
            machine.user + machine.nice + machine.system,
        )


def _resident(pid: int) -> int:
    """Return the resident bytes of a process and its descendants."""
    found = 0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            found += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return found


def compared(
    name: str, programs: Path, records: list[Record], options: argparse.Namespace
) -> dict[str, Any]:
    """Run a program on few reads and on all; return what it took and how right it was."""
    directory = Path(options.bundle)
    bundle = str(directory.resolve()) if directory.is_dir() else options.bundle
    with tempfile.TemporaryDirectory() as work:

        def run(label: str, chosen: list[Record]) -> tuple[Cost, Path]:
            out = Path(work) / label
            out.mkdir()
            reads = write_reads(chosen, Path(work) / f"{label}.fa")
            shortest = min(len(record.sequence) for record in records)
            task = Task(programs, reads, out, shortest, bundle)
            return timed(PEERS[name].command(task), Path(work) / f"{label}.log"), out

        starts = [run(f"few{i}", records[:FEW])[0] for i in range(1 + options.repeats)]
        wholes, outs = zip(*(run(f"all{i}", records) for i in range(options.repeats)), strict=True)
        scores = PEERS[name].scores(outs[0])
        named = pl.DataFrame({"id": [r.id for r in records]}).with_row_index("name")
        named = named.with_columns(pl.format("r{}", "name"))
        table = named.join(scores, on="name", how="left", validate="1:1").drop("name")
        path = Path(work) / "scores.tsv"
        table.write_csv(path, separator="\t")
        accuracy = virnucpro.evaluate(
            path, options.labels, score_column="score", bootstrap=options.bootstrap
        )
    more, start, whole = len(records) - FEW, min(starts), min(wholes)
    return {
        "version": _version(name),
        "reads": len(records),
        "share scored": 1 - table["score"].null_count() / len(records),
        "reads/s": more / (whole.wall - start.wall),
        "reads per CPU second": more / (whole.cpu - start.cpu),
        "start": start._asdict(),
        "whole": whole._asdict(),
        "wholes": [cost._asdict() for cost in wholes],
        "notes": accuracy.notes,
        "accuracy": msgspec.to_builtins(accuracy.views["all"]),
    }


def _version(name: str) -> str:
    if name == "virnucpro":
        return version(name)
    lines = Path(__file__).with_name(f"{name}.txt").read_text().lower().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(name))


def table_of(peers: dict[str, dict[str, Any]]) -> str:
    """Return a table in Markdown: a column a program."""
    done = {name: found for name, found in peers.items() if "failed" not in found}
    rows: dict[str, list[str]] = {}
    for found in done.values():
        for row, cell in _cells(found).items():
            rows.setdefault(row, []).append(cell)
    lines = [["", *(f"{name} {found['version']}" for name, found in done.items())]]
    lines += [["---"] * len(lines[0]), *([row, *cells] for row, cells in rows.items())]
    failed = [f"{name}: {found['failed']}" for name, found in peers.items() if "failed" in found]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *failed])


def _cells(found: dict[str, Any]) -> dict[str, str]:
    """Return a program's column."""
    accuracy, recall = found["accuracy"], "recall_at_5_percent"
    groups = [name for name, group in accuracy.items() if recall in group["measures"]]
    names = {group: group.removeprefix("class ").removeprefix("overall") for group in groups}
    cells = {}
    for metric, title in (("auroc", "AUROC"), (recall, "recall at 5 % false positives")):
        for group, name in names.items():
            estimate = msgspec.convert(accuracy[group]["measures"][metric], Estimate)
            cells[f"{title} {name}".strip()] = str(estimate)
    return cells | {
        "share scored": f"{found['share scored']:.3f}",
        "reads/s, start-up apart": f"{found['reads/s']:.1f}",
        "reads per CPU second, start-up apart": f"{found['reads per CPU second']:.1f}",
        "start-up, s": f"{found['start']['wall']:.1f}",
        "whole run, s": f"{found['whole']['wall']:.1f}",
        "whole run, CPU seconds": f"{found['whole']['cpu']:.1f}",
        "memory, GiB": f"{found['whole']['gib']:.2f}",
    }


def machine() -> dict[str, Any]:
    """Say where this runs."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load before": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def main() -> None:
    """Run the programs, print the table and write JSON after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where environments are made")
    parser.add_argument("reads", type=Path)
    parser.add_argument("labels", type=Path, help="id, is_virus, class, source")
    parser.add_argument("--peer", nargs="+", choices=list(PEERS), required=True)
    parser.add_argument("--bundle", default="compact", help="of virnucpro")
    parser.add_argument("--python", default="python3.11", help="for the peers' environments")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="where to write all of it")
    options = parser.parse_args()
    with SequenceFile(str(options.reads)) as file:
        records = list(file)
    peers: dict[str, dict[str, Any]] = {}
    found = machine() | {"reads": options.reads.name, "bundle": options.bundle, "peers": peers}
    for name in options.peer:
        programs = environment(options.directory.resolve(), name, options.python)
        try:
            peers[name] = compared(name, programs, records, options)
        except FailedError as failure:
            peers[name] = {"version": _version(name), "failed": str(failure)}
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table_of(peers))


if __name__ == "__main__":
    main()
