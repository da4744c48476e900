"""Every executor, any number of workers: the same bytes, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from poison import POISONS, imported, poisoned
from processes import EXAMPLES, Forked, assert_same_files, contents, run, start

OPTIONS = ["--block-chunks", "16", "--legacy"]
TORCHRUN = [
    *(sys.executable, "-P", "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node=2", "--module"),
]
#: Has the first block and the tables claimed by another rank.
OTHER_RANK = """
import virnucpro.runs.waiting
from virnucpro.runs.claims import Claims

virnucpro.runs.waiting._FIRST = 0.2
make = Claims.__init__
def make_second(self, directory):
    for name in ("00000000", "-0000001"):
        (directory / f"{name}.claim").touch()
    make(self, directory)
Claims.__init__ = make_second
"""


def finished(out: Path, device: str, *options: str) -> dict[str, bytes]:
    """Predict to the end and return the files."""
    done = run("predict", *EXAMPLES, "-o", out, *OPTIONS, "--device", device, *options)
    assert done.returncode == 0, done.stderr
    return contents(out)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return finished(tmp_path_factory.mktemp("unbroken") / "out", "cpu")


def test_local_workers_import_nothing_of_the_users(
    unbroken: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, named = poisoned(tmp_path / "here", *POISONS), poisoned(tmp_path / "named", "random")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", str(named))
    assert_same_files(finished(tmp_path / "out", "cpu,cpu,cpu"), unbroken)
    assert imported(here, named) == []


def test_local_workers_with_two_encoders(tmp_path: Path) -> None:
    pair = ("--bundle", "compact-pair")
    expected = finished(tmp_path / "one", "cpu", *pair)
    assert_same_files(finished(tmp_path / "two", "cpu,cpu", *pair), expected)


def torchrun(out: Path) -> "subprocess.Popen[str]":
    """Start two ranks."""
    command = ["virnucpro", "predict", *EXAMPLES, "-o", str(out), *OPTIONS, "--no-report"]
    return subprocess.Popen(
        [*TORCHRUN, *command, "--executor", "launched", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_torchrun_with_a_rank_killed_continues_and_imports_nothing_of_the_users(
    unbroken: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = poisoned(tmp_path / "here", *POISONS[:-1])  # Python itself takes the last one
    monkeypatch.chdir(here)
    out = tmp_path / "out"
    first = torchrun(out)
    _wait_for_shards(out, first, 5)
    _kill_one(lambda p: "--executor" in _command(p) and "distributed" not in _command(p))
    first.communicate()
    assert first.returncode != 0
    again = torchrun(out)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert_same_files(contents(out), unbroken)
    assert imported(here) == []


def test_a_rank_that_dies_leaves_its_blocks_to_the_others(
    unbroken: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under srun, which lets the others go on."""
    out = tmp_path / "out"
    ranks = []
    for rank in ("0", "1"):
        for name in ("SLURM_PROCID", "SLURM_LOCALID"):
            monkeypatch.setenv(name, rank)
        options = [*OPTIONS, "--executor", "launched", "--device", "cpu"]
        ranks.append(start("predict", *EXAMPLES, "-o", out, *options))
    _wait_for_shards(out, ranks[0], 3)
    ranks[0].kill()
    ranks[0].communicate()
    for claim in (out / "shards").glob("*.claim"):  # a minute passes
        past = time.time() - 3600
        if (out / "shards" / claim.name.replace("claim", "shard")).exists():
            continue
        os.utime(claim, (past, past))
    _, said = ranks[1].communicate()
    assert ranks[1].returncode == 0, said
    assert_same_files(contents(out), unbroken)


def test_a_launched_run_and_a_local_one_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    out = tmp_path / "out"
    launched = start(
        "predict", *EXAMPLES, "-o", out, *OPTIONS, "--executor", "launched", "--device", "cpu"
    )
    _wait_for_shards(out, launched, 1)
    launched.send_signal(signal.SIGSTOP)  # or it ends before the other one has begun
    local = run("predict", *EXAMPLES, "-o", out, *OPTIONS, "--device", "cpu")
    launched.send_signal(signal.SIGKILL)
    launched.communicate()
    assert local.returncode == 1
    assert "another process is running in it" in local.stderr


def test_what_another_rank_has_in_hand_is_waited_for_aloud_and_can_be_left_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    out = tmp_path / "out"
    waiting = start(
        "predict", EXAMPLES[1], "-o", out, *OPTIONS, "--executor", "launched", "--device", "cpu",
        before=OTHER_RANK,
    )  # fmt: skip
    _wait_for_words(waiting, f"waiting for the blocks of {out / 'shards'}")
    (out / "shards" / "00000000.claim").unlink()
    _wait_for_words(waiting, f"waiting for the tables of {out}")
    stopped = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130
    assert time.monotonic() - stopped < 1.5


def test_a_silent_pipe_is_waited_for_aloud_and_can_be_left_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "reads.fasta"
    os.mkfifo(pipe)
    writing = os.open(pipe, os.O_RDWR)  # so that reading waits
    os.write(writing, b">a\nACGT\n")
    patience = "import virnucpro.runs.waiting as w; w._FIRST = 0.2"
    waiting = start("predict", pipe, "-o", tmp_path / "out", "--device", "cpu", before=patience)
    _wait_for_words(waiting, f"waiting for more records ({pipe})")
    stopped = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130
    assert time.monotonic() - stopped < 1.5
    os.close(writing)


def test_workers_that_do_not_come_up_are_waited_for_aloud_and_can_be_left_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif '-c' in sys.orig_argv: time.sleep(60)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    patience = "import virnucpro.runs.waiting as w; w._FIRST = 0.2"
    options = ["-o", str(tmp_path / "out"), "--device", "cpu,cpu"]
    waiting = start("predict", EXAMPLES[1], *options, before=patience)
    _wait_for_words(waiting, "waiting for the worker on cpu, process ")
    stopped = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130
    assert time.monotonic() - stopped < 1.5


def _wait_for_words(process: Forked, words: str) -> None:
    while words not in process.errors():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def _wait_for_shards(out: Path, process: "Forked | subprocess.Popen[str]", count: int) -> None:
    while len(list(out.glob("shards/*.shard"))) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def _kill_one(is_meant: Callable[[psutil.Process], bool]) -> None:
    """Kill -9 the first process that is meant."""
    meant = [p for p in psutil.Process().children(recursive=True) if is_meant(p)]
    meant[0].kill()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
