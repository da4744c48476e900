"""Kill -9 at random moments, run again until done: the same bytes as a run that nobody disturbed.

python benchmarks/robustness/kills.py --cases 200 --seed 1

A case takes one kind of input, command and workers, kills its whole tree of processes once or a
few times, and repeats the command to its end. A moment is either a time, or the appearance or
growth of a file in OUT, so that tables and report are hit too. All files must then be those of an
undisturbed run, but for the fields that say when, how fast, and how much was left to do.
"""

import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pysam

from harness import Case, Fuzzer, LostError, main

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from processes import Forked  # noqa: E402 (of the tests)

EXAMPLES = ROOT / "examples"
READS, CONTIGS = str(EXAMPLES / "reads.fastq.gz"), str(EXAMPLES / "contigs.fasta")
CPU = ("--device", "cpu", "--block-chunks", "16")
PREDICT = (*CPU, "--no-report")
#: Fields that say when, how fast, or how much of it an attempt did.
TIMED = {
    "started", "finished", "seconds", "devices", "records_per_second", "tokens_per_second",
    "resumed_records", "packs_cut", "frames_redone",
}  # fmt: skip
#: Parts of a report that do.
TIMED_PARTS = re.compile(
    r'<section id="speed".*?</section>|<time.*?</time>|\d{4}-\d\d-\d\d \d\d:\d\d UTC', re.DOTALL
)
#: Kills of one case at most, and seconds that a run may take to end, or its workers.
MOST_KILLS, _LONGEST = 4, 300.0
#: Reads standard input from a pipe, the file of which is the last argument.
_PIPED = (
    "import os, subprocess, sys; os.setsid(); "
    "p = subprocess.Popen(['cat', sys.argv.pop()], stdout=subprocess.PIPE); "
    "os.dup2(p.stdout.fileno(), 0)"
)
_APART = "import os; os.setsid()"


@dataclass(frozen=True)
class Work:
    """What is done and killed.

    Attributes:
        arguments: of the command line, made from a folder for its inputs.
        before: a program that the process runs first.
        ranks: how many are launched together.
    """

    arguments: Callable[[Path], list[str]]
    before: str = _APART
    ranks: int = 1


def _bam(folder: Path) -> list[str]:
    """Write the reads of the examples as an unaligned BAM."""
    path = folder / "reads.bam"
    with (
        pysam.FastxFile(READS) as reads,
        pysam.AlignmentFile(str(path), "wb", header=pysam.AlignmentHeader()) as file,
    ):
        for read in reads:
            segment = pysam.AlignedSegment()
            segment.query_name, segment.query_sequence, segment.flag = read.name, read.sequence, 4
            segment.query_qualities = pysam.qualitystring_to_array(read.quality or "")
            file.write(segment)
    return ["predict", str(path), "--bam", *PREDICT]


def _pairs(folder: Path) -> list[str]:
    """Write the reads of the examples as mates 1, and once more backwards as mates 2."""
    mates = folder / "1.fq", folder / "2.fq"
    with pysam.FastxFile(READS) as reads, mates[0].open("w") as first, mates[1].open("w") as second:
        for read in reads:
            first.write(f"@{read.name}/1\n{read.sequence}\n+\n{read.quality}\n")
            second.write(f"@{read.name}/2\n{(read.sequence or '')[::-1]}\n+\n{read.quality}\n")
    return ["predict", "-1", str(mates[0]), "-2", str(mates[1]), *PREDICT]


def _sheet(folder: Path) -> list[str]:
    sheet = folder / "sheet.csv"
    sheet.write_text(f"sample,files\nreads,{READS}\ncontigs,{CONTIGS}\n")
    return ["predict", "--samples", str(sheet), *PREDICT]


def _train(folder: Path) -> list[str]:
    """Write genes of two kinds that are easily told apart."""
    chance = random.Random(2)  # noqa: S311
    for kind, codons in {"virus": ("GCC", "GGC", "GAC"), "other": ("CGG", "CTC", "CCG")}.items():
        genes = ["".join(chance.choices(codons, k=chance.randint(60, 160))) for _ in range(24)]
        text = "".join(f">{kind}{number}\n{gene}\n" for number, gene in enumerate(genes))
        (folder / f"{kind}.fa").write_text(text)
    return ["train", str(folder), "--group", "record", "--device", "cpu"]


def _predict(*arguments: str) -> Callable[[Path], list[str]]:
    return lambda _folder: ["predict", *arguments]


WORKS = {
    "FASTA": Work(_predict(CONTIGS, "--legacy", *PREDICT)),
    "gz": Work(_predict(READS, CONTIGS, "--gzip", "--write", "other", *PREDICT)),
    "standard input": Work(_predict("-", *PREDICT, READS), _PIPED),
    "BAM": Work(_bam),
    "pairs": Work(_pairs),
    "two encoders": Work(_predict(READS, "--bundle", "compact-pair", *PREDICT)),
    "sheet": Work(_sheet),
    "report": Work(_predict(READS, *CPU)),
    "two workers": Work(_predict(CONTIGS, *PREDICT, "--device", "cpu,cpu")),
    "launched": Work(_predict(CONTIGS, *PREDICT, "--executor", "launched"), ranks=2),
    "embed": Work(
        lambda _folder: [
            "embed", str(EXAMPLES / "proteins.fasta"), "--model", "compact-pair:protein",
            "--device", "cpu",
        ]
    ),
    "train": Work(_train),
}  # fmt: skip


class Undisturbed:
    """A run to its end, to compare with.

    Attributes:
        files: of it.
        changes: of the list of its files while it ran.
        seconds: that it took.
    """

    def __init__(self, work: Work, folder: Path) -> None:
        inputs = folder / "inputs"
        inputs.mkdir(parents=True)
        arguments = work.arguments(inputs)
        self.out = folder / "out"
        self.command = [arguments[0], "-o", str(self.out), *arguments[1:]]
        begun = time.monotonic()
        processes = start(work, self.command)
        watch = Watch(self.out)
        while any(process.poll() is None for process in processes):
            watch.look()
        self.changes, self.seconds = watch.changes, time.monotonic() - begun
        end(processes)
        self.files = files_of(self.out)
        self.out.rename(folder / "undisturbed")


class Watch:
    """Counts how often the names and sizes of the files in a directory change."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._before, self.changes = directory, set[tuple[str, int]](), 0

    def look(self) -> None:
        """Wait a little and look."""
        time.sleep(0.001)
        found = set()
        with suppress(OSError):  # files come and go
            for place, _, names in os.walk(self._directory):
                found |= {(name, (Path(place) / name).lstat().st_size) for name in names}
        self.changes += found != self._before
        self._before = found


def start(work: Work, command: list[str]) -> list[Forked]:
    """Start the process, or one for each rank."""
    processes = []
    for rank in range(work.ranks):
        if work.ranks > 1:
            ranks, rank_ = str(work.ranks), str(rank)
            variables = {"RANK": rank_, "LOCAL_RANK": rank_, "WORLD_SIZE": ranks}
            os.environ.update(variables, LOCAL_WORLD_SIZE=ranks)
        processes.append(Forked(command, work.before))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
    return processes


def end(processes: list[Forked]) -> None:
    """Wait until all have ended well.

    Raises:
        LostError: when one has not.
    """
    for process in processes:
        _, said = process.communicate(_LONGEST)
        if process.returncode != 0:
            raise LostError(f"status {process.returncode}: {said.strip()[-300:]}")


def killed(processes: list[Forked], is_time: Callable[[], bool]) -> bool:
    """Kill the processes and all that they started, when it is time; tell whether any ran."""
    while any(process.poll() is None for process in processes):
        if is_time():
            family = [child for process in processes for child in _family(process.pid)]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.send_signal(signal.SIGKILL)
            for process in processes:
                process.communicate(_LONGEST)
            psutil.wait_procs(family, timeout=_LONGEST)
            return any(process.returncode == -signal.SIGKILL for process in processes)
    return False


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def files_of(out: Path) -> dict[str, bytes]:
    """Return all files of a finished run, without the fields that hold times."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_file() and path.name != ".lock":
            content = path.read_bytes()
            if path.name in ("run.json", "summary.json"):
                content = json.dumps(_timeless(json.loads(content))).encode()
            if path.name == "report.html":
                content = TIMED_PARTS.sub("", content.decode()).encode()
            if path.name == "samples.tsv":
                content = _timeless_columns(content)
            found[name] = content
    return found


def _timeless(value: Any) -> Any:  # noqa: ANN401 (what JSON holds)
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMED}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _timeless_columns(content: bytes) -> bytes:
    rows = [line.split(b"\t") for line in content.splitlines()]
    kept = [column for column, name in enumerate(rows[0]) if name.decode() not in TIMED]
    return b"\n".join(b"\t".join(row[column] for column in kept) for row in rows)


@cache
def undisturbed(kind: str, folder: Path) -> Undisturbed:
    """Return the run to compare with, made once."""
    return Undisturbed(WORKS[kind], folder / kind)


def draw(chance: random.Random) -> Case:
    """Return which work is killed, and what the moments are drawn from."""
    return Case(chance.choice(list(WORKS)), str(chance.getrandbits(32)).encode())


def attempt(case: Case, folder: Path) -> None:
    """Kill and repeat until done, then compare."""
    work, whole = WORKS[case.kind], undisturbed(case.kind, folder)
    chance = random.Random(case.data)  # noqa: S311
    kills, most, share = 0, chance.randint(1, MOST_KILLS), 1.0
    try:
        while kills < most:
            if killed(start(work, whole.command), _moment(whole, chance, share)):
                kills += 1
            elif kills:
                break
            else:  # it was done before the moment came
                shutil.rmtree(whole.out)
            share *= 0.8  # the less is left to do, the sooner
        end(start(work, whole.command))
        compare(files_of(whole.out), whole.files)
    finally:
        shutil.rmtree(whole.out, ignore_errors=True)


def _moment(whole: Undisturbed, chance: random.Random, share: float) -> Callable[[], bool]:
    """Return what says when to kill: after a time, or some changes of the files."""
    if chance.random() < 0.4:
        until = time.monotonic() + chance.uniform(0, share * whole.seconds)
        return lambda: time.monotonic() >= until
    changes, watch = chance.uniform(0, share * whole.changes), Watch(whole.out)

    def is_time() -> bool:
        watch.look()
        return watch.changes >= changes

    return is_time


def compare(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Compare the files of two runs.

    Raises:
        LostError: when they differ.
    """
    different = [name for name in sorted(found | expected) if found.get(name) != expected.get(name)]
    if different:
        raise LostError(f"differ from an undisturbed run: {', '.join(different)}")


FUZZER = Fuzzer("kills", draw, attempt, is_apart=False)

if __name__ == "__main__":
    main(FUZZER)
