"""Processes that are forked: they work, or one line says why not, and they hold nothing."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from processes import EXAMPLES, gone_in_time
from virnucpro.bundles import Bundle

#: Predicts in a process that is forked from one that has used Polars.
FORKS = """
import os, sys
import polars, virnucpro, virnucpro.system.forking
from virnucpro.errors import RunError

virnucpro.system.forking._SECONDS = 1.0
polars.DataFrame({"a": range(9)}).lazy().select(polars.col("a").sum()).collect()
if not os.fork():
    try:
        virnucpro.predict(sys.argv[1], sys.argv[2], device="cpu")
    except RunError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""
#: Is in the middle of a run, with a worker of its own, when it is forked.
HOLDS = """
import os, sys, time
import virnucpro
from virnucpro.runs.job import Silence

class Fork(Silence):
    def advanced(self, progress):
        if not hasattr(self, "child"):
            self.child = os.fork()
            if not self.child:
                time.sleep(60)
                os._exit(0)
            print(self.child, flush=True)
        time.sleep(60)
virnucpro.predict(
    sys.argv[1], sys.argv[3], bundle=sys.argv[2], device="cpu,cpu", report=False, block_chunks=16,
    observer=Fork(),
)
"""


def test_a_forked_process_that_would_hang_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", FORKS, EXAMPLES[1], str(tmp_path / "out")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert 'start it with multiprocessing.get_context("spawn")' in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.fixture
def forked(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """Return a process in the middle of a run, and one that was forked from it."""
    arguments = [EXAMPLES[1], str(tiny_bundle.path), str(tmp_path / "out")]
    command = [sys.executable, "-P", "-c", HOLDS, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        try:
            yield psutil.Process(process.pid), child
        finally:
            child.kill()
            process.kill()


def test_a_forked_process_holds_neither_the_run_nor_its_workers(
    forked: tuple[psutil.Process, psutil.Process], tmp_path: Path
) -> None:
    parent, child = forked
    workers = [process for process in parent.children() if process != child]
    assert len(workers) == 2
    parent.kill()
    assert gone_in_time(lambda: not any(worker.is_running() for worker in workers))
    assert child.is_running()
    with (tmp_path / "out" / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
