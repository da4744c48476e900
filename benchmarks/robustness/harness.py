"""What the robustness scripts share: draw cases, try each, count how each one ends.

A script defines a `Fuzzer` and ends with `main(FUZZER)`. The cases run in a child process, one
after the other, so that one that hangs, eats memory or crashes the interpreter is counted and the
rest goes on. Case N of seed S is always the same input: `--only N` runs it alone and in this
process, with its traceback.
"""

import argparse
import datetime as dt
import json
import multiprocessing
import os
import platform
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from virnucpro.errors import VirnucproError

#: Seconds and bytes that one case may take.
SECONDS, BYTES = 10.0, 2**30
#: Bytes of an input that are kept; a longer one is told by its number.
_KEPT = 4096
GOOD = ("ok", "refused")
OUTCOMES = (*GOOD, "fault", "hang", "memory", "lost")


class LostError(Exception):
    """Records are missing, or values are wrong, although nothing was refused."""


class HangError(Exception):
    """A process did not end in time."""


class Case(NamedTuple):
    """One input.

    Attributes:
        kind: a word for the table, as `fastq cut`.
        data: the input, or text that says what it is.
    """

    kind: str
    data: bytes


@dataclass(frozen=True)
class Fuzzer:
    """What is tried.

    Attributes:
        name: of the script.
        draw: makes a case out of random numbers. It must draw from them alone.
        attempt: tries a case in a directory that all cases of a child process share. It returns
            when the input was taken and all is right, raises `LostError` when records are missing
            or values are wrong, and lets every other error pass.
        is_apart: whether cases run in a child process, with limits of time and memory; not where
            `attempt` starts processes itself and limits them.
    """

    name: str
    draw: Callable[[random.Random], Case]
    attempt: Callable[[Case, Path], None]
    is_apart: bool = True

    def case(self, seed: int, number: int) -> Case:
        """Return a case, the same each time."""
        return self.draw(random.Random(f"{self.name} {seed} {number}"))  # noqa: S311


@dataclass
class Ended:
    """How one case ended."""

    number: int
    kind: str
    outcome: str
    message: str = ""
    place: str = ""
    length: int = 0
    input: str | None = None


@dataclass
class Counts:
    """What came of all cases; of faults that look alike, the one with the smallest input."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: dict[str, Ended] = field(default_factory=dict)

    def add(self, ended: Ended) -> None:
        """Take in how one case ended."""
        self.counts.setdefault(ended.kind, Counter())[ended.outcome] += 1
        if ended.outcome not in GOOD:
            alike = f"{ended.outcome} {ended.place or ended.kind}"
            before = self.faults.get(alike)
            if before is None or ended.length < before.length:
                self.faults[alike] = ended

    @property
    def total(self) -> Counter[str]:
        """Return the counts of all kinds together."""
        return sum(self.counts.values(), Counter())


def try_one(fuzzer: Fuzzer, case: Case, number: int, folder: Path) -> Ended:
    """Try a case in this process and class how it ends; there is no limit of time here."""
    try:
        fuzzer.attempt(case, folder)
    except VirnucproError:
        return Ended(number, case.kind, "refused")
    except MemoryError:
        return _bad(case, number, "memory", "MemoryError")
    except LostError as lost:
        return _bad(case, number, "lost", str(lost))
    except HangError as hang:
        return _bad(case, number, "hang", str(hang))
    except Exception as fault:  # noqa: BLE001 (any of them is what we look for)
        error, frame = type(fault).__name__, traceback.extract_tb(fault.__traceback__)[-1]
        place = f"{error} in {Path(frame.filename).name}, line {frame.lineno}"
        return _bad(case, number, "fault", f"{error}: {str(fault)[:300]}", place)
    return Ended(number, case.kind, "ok")


def _bad(case: Case, number: int, outcome: str, message: str, place: str = "") -> Ended:
    kept = case.data.hex() if len(case.data) <= _KEPT else None
    return Ended(number, case.kind, outcome, message, place, len(case.data), kept)


def count(fuzzer: Fuzzer, cases: int, seed: int) -> Counts:
    """Try cases, in child processes within the limits of time and memory if they are apart."""
    counts, number = Counts(), 0
    if not fuzzer.is_apart:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(cases):
                counts.add(try_one(fuzzer, fuzzer.case(seed, number), number, Path(folder)))
        return counts
    while number < cases:
        with tempfile.TemporaryDirectory() as folder:
            number = _count_some(fuzzer, number, cases, seed, counts, Path(folder))
    return counts


def _count_some(
    fuzzer: Fuzzer, number: int, cases: int, seed: int, counts: Counts, folder: Path
) -> int:
    """Try cases in one child process until one of them ends it; return which comes next."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    numbers = range(number, cases)
    child = fork.Process(target=_serve, args=(fuzzer, numbers, seed, folder, theirs), daemon=True)
    child.start()
    theirs.close()
    outcome, how = "hang", f"more than {SECONDS:g} s"
    try:
        while number < cases and ours.poll(SECONDS):
            counts.add(ours.recv())
            number += 1
    except EOFError:
        child.join()
        outcome, how = "fault", f"the process ended with {child.exitcode}"
    finally:
        child.kill()
        child.join()
        ours.close()
    if number < cases:
        counts.add(_bad(fuzzer.case(seed, number), number, outcome, how))
    return number + 1


def _serve(fuzzer: Fuzzer, numbers: range, seed: int, folder: Path, pipe: Connection) -> None:
    """Try cases in a child process, and tell how each one ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    status = Path("/proc/self/status").read_text().splitlines()
    data = next(int(line.split()[1]) for line in status if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (data * 1024 + BYTES, resource.RLIM_INFINITY))
    for number in numbers:
        pipe.send(try_one(fuzzer, fuzzer.case(seed, number), number, folder))


def shown(counts: Counts) -> str:
    """Return a table of the counts and a line for each fault."""
    rows: list[tuple[str, ...]] = [("kind", *OUTCOMES)]
    for kind, found in [*sorted(counts.counts.items()), ("all", counts.total)]:
        rows.append((kind, *(f"{found[outcome]:,}" for outcome in OUTCOMES)))
    width = max(len(row[0]) for row in rows)
    lines = [f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    for ended in counts.faults.values():
        lines.append(f"{ended.outcome}: --only {ended.number} ({ended.kind}): {ended.message}")
        lines.append(f"    {ended.place} {(ended.input or f'{ended.length} bytes')[:200]}")
    return "\n".join(lines)


def main(fuzzer: Fuzzer) -> None:
    """Run a script: count, print, write JSON; the status is 1 when anything bad was found."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the raw figures go")
    parser.add_argument("--only", type=int, help="run this case alone, with its traceback")
    options = parser.parse_args()
    if options.only is not None:
        case = fuzzer.case(options.seed, options.only)
        print(case.kind, len(case.data), case.data[:_KEPT])
        with tempfile.TemporaryDirectory() as folder:
            fuzzer.attempt(case, Path(folder))
        return
    begun = time.monotonic()
    counts = count(fuzzer, options.cases, options.seed)
    print(f"{fuzzer.name}: {options.cases:,} cases, seed {options.seed}\n{shown(counts)}")
    if options.json:
        options.json.write_text(json.dumps(_record(fuzzer, options, counts, begun), indent=1))
    sys.exit(any(counts.total[outcome] for outcome in OUTCOMES if outcome not in GOOD))


def _record(
    fuzzer: Fuzzer, options: argparse.Namespace, counts: Counts, begun: float
) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "hardware": {
            "processor": names[0] if names else platform.machine(),
            "cores": os.cpu_count(),
        },
        "python": platform.python_version(),
        "virnucpro": version("virnucpro"),
        "command": f"python benchmarks/robustness/{fuzzer.name}.py --cases {options.cases} "
        f"--seed {options.seed}",
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        "limits": {"seconds": SECONDS, "bytes": BYTES},
        "counts": {outcome: counts.total[outcome] for outcome in OUTCOMES},
        "kinds": counts.counts,
        "faults": [asdict(ended) for ended in counts.faults.values()],
    }
