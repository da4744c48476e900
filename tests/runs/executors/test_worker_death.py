"""Real workers that die for real: the same bytes, or the block is set aside and said."""

import gzip
import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from processes import EXAMPLES, Forked, assert_same_files, contents, run, start
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.report.finished_runs import read_findings

ROUNDS = int(os.environ.get("VIRNUCPRO_KILL_ROUNDS", "2"))
OPTIONS = ["--block-chunks", "4", "--device", "cpu,cpu"]
#: Seconds from the start of the command to its last table, at most.
WHOLE_RUN = 4.0

#: Put on a worker's path: dies with any block that holds a record called deadly.
DEADLY = """
import os, signal, sys
if any("virnucpro.runs.executors.processes" in word for word in sys.orig_argv):
    from virnucpro.prediction.worker import Worker
    prepare = Worker.prepare
    def prepare_or_die(self, block):
        if any(piece.header == "deadly" for piece in block.pieces):
            os.kill(os.getpid(), signal.SIGSEGV)
        return prepare(self, block)
    Worker.prepare = prepare_or_die
"""


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the first forty example reads."""
    path = tmp_path_factory.mktemp("reads") / "reads.fastq"
    with gzip.open(EXAMPLES[0]) as file:
        path.write_bytes(b"".join(file.readlines()[:160]))
    return path


@pytest.fixture(scope="module")
def unbroken(reads: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    done = run("predict", reads, "-o", out, *OPTIONS[:2], "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return contents(out)


def workers_of(process: Forked) -> list[psutil.Process]:
    """Return the workers that a run has now."""
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def kill_some(process: Forked, chance: random.Random) -> None:
    """Kill -9 the parent, one worker, or all of them."""
    workers = workers_of(process)
    victims = chance.choice([[process], workers[:1], [process, *workers]])
    for victim in victims:
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whoever_is_killed_the_rerun_gives_the_same_bytes(
    reads: Path, unbroken: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    out, chance = tmp_path / "out", random.Random(seed)
    for _ in range(10):
        process = start("predict", reads, "-o", out, *OPTIONS)
        if chance.random() < 0.6:
            time.sleep(chance.uniform(0.5, WHOLE_RUN))
            if process.poll() is None:
                kill_some(process, chance)
        _, said = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
    assert process.returncode == 0
    assert_same_files(contents(out), unbroken)


def test_a_worker_killed_in_the_middle_is_replaced(
    reads: Path, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start("predict", reads, "-o", out, *OPTIONS)
    while not list(out.glob("shards/*.shard")) and process.poll() is None:
        time.sleep(0.005)
    workers_of(process)[0].kill()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "died (its process was ended by SIGKILL)" in said
    assert_same_files(contents(out), unbroken)
    assert (
        sum(d["workers_died"] for d in json.loads((out / "run.json").read_text())["devices"]) == 1
    )


def test_workers_end_with_their_parent(reads: Path, tmp_path: Path) -> None:
    process = start("predict", reads, "-o", tmp_path / "out", *OPTIONS)
    while len(workers := workers_of(process)) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert workers
    assert not alive


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_run_within_ten_seconds_and_it_continues(
    reads: Path, unbroken: dict[str, bytes], tmp_path: Path, number: int, status: int
) -> None:
    out = tmp_path / "out"
    process = start("predict", reads, "-o", out, *OPTIONS)
    while not list(out.glob("shards/*.shard")) and process.poll() is None:
        time.sleep(0.005)
    workers = workers_of(process)
    for victim in [*workers, process]:  # as Slurm does: every process of the step
        victim.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == status, said
    assert said.splitlines()[-1] == "virnucpro: stopped; rerun the same command to resume"
    assert not psutil.wait_procs(workers, timeout=5)[1]
    done = run("predict", reads, "-o", out, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert_same_files(contents(out), unbroken)


def test_a_block_that_kills_its_workers_is_set_aside_and_all_else_is_told_of_the_right_records(
    reads: Path, unbroken: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines = reads.read_text().splitlines(keepends=True)
    deadly = tmp_path / "deadly.fastq"
    long = random.Random(1).choices("ACGT", k=1700)
    records = [f"@{name}\n{''.join(long)}\n+\n{'I' * 1700}\n" for name in ("deadly", "after")]
    deadly.write_text("".join([*lines[:80], *records, *lines[80:]]))
    out = tmp_path / "out"
    done = run("predict", deadly, "-o", out, *OPTIONS)
    assert done.returncode == 3, done.stderr
    assert "SIGSEGV" in done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert "are of a block that two workers died on" in summary["problems"][0]
    assert summary["unscored"]["not processed"] == len(summary["problems"]) < 5
    lost = {
        line.split("\t")[0] for line in rows(contents(out), "records.tsv") if "unscored" in line
    }
    kept = [row for row in own_columns(unbroken) if row[0] not in lost]
    assert set(kept) <= set(own_columns(contents(out)))
    assert len(kept) >= 10
    chunks = [line.split("\t") for line in rows(contents(out), "chunks.tsv")]
    assert [row[1:4] for row in chunks if row[0] == "deadly"] == [
        row[1:4] for row in chunks if row[0] == "after"
    ]
    assert {row[7] for row in chunks if row[0] == "deadly"} == {"unscored"}
    drawn = {viral.record: viral for viral in read_findings(Outputs(out)).viral}
    scores = [float(row[6]) for row in chunks if row[0] == "after"]
    assert [point.p_virus for point in drawn["after"].track] == pytest.approx(scores, abs=6e-4)


def own_columns(files: dict[str, bytes]) -> list[tuple[str, ...]]:
    """Return the columns of records that do not depend on the other records, as fdr does."""
    found = [tuple(row.split("\t")) for row in rows(files, "records.tsv")]
    return [(*row[:5], *row[9:]) for row in found]


def rows(files: dict[str, bytes], name: str) -> list[str]:
    return files[name].decode().splitlines()[1:]
