"""Where no threads can be started, one line says so."""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time

import pytest

from virnucpro.errors import SettingsError
from virnucpro.system.threads import check_threads


def test_threads_that_were_tried_are_gone() -> None:
    before, started = threading.active_count(), time.monotonic()
    check_threads()
    assert threading.active_count() == before
    assert time.monotonic() - started < 5


def test_what_libraries_are_told_to_start_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def count(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", count)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("POLARS_MAX_THREADS", "5")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    check_threads()
    assert len(started) == 14 + 1 + 1 + 5


def test_a_thread_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before, left, start = threading.active_count(), iter(range(3)), threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    with pytest.raises(SettingsError, match="no more threads or processes can be started"):
        check_threads()
    assert threading.active_count() == before


def test_a_limit_on_processes_is_one_line() -> None:
    """As another user than root, whom the system does not limit."""
    other, rights = [], "-all,+dac_override,+dac_read_search"
    if os.getuid() == 0:
        kept = (f"--inh-caps={rights}", f"--ambient-caps={rights}", f"--bounding-set={rights}")
        other = ["setpriv", "--reuid=54321", "--clear-groups", *kept]
        if (
            shutil.which("setpriv") is None
            or subprocess.run([*other, "true"], check=False).returncode
        ):
            pytest.skip("root cannot become another user here")
    done = subprocess.run(
        [*other, sys.executable, "-m", "virnucpro", "cite"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (5, 5)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "(the limit of 5 for this user, ulimit -u" in done.stderr
