"""An observer is told by one thread at a time, whatever happens."""

import threading
import time
from pathlib import Path

import psutil
import pytest

import virnucpro
from processes import EXAMPLES
from virnucpro.bundles import Bundle
from virnucpro.runs import waiting
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.job import Silence


class Overlaps(Silence):
    """Takes its time with all that it is told, and notes whoever comes meanwhile."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self.told: list[str] = []
        self.overlapping: list[str] = []

    def advanced(self, progress: Progress) -> None:
        if not progress.resumed_records and not self.told.count("advanced"):
            a_worker().kill()  # what comes of it is told in another thread
        self._take("advanced")

    def noted(self, line: str) -> None:
        self._take(line)

    def _take(self, what: str) -> None:
        if not self._busy.acquire(blocking=False):
            self.overlapping.append(what)
            return
        time.sleep(0.1)
        self.told.append(what)
        self._busy.release()


def a_worker() -> psutil.Process:
    """Return a process that computes; this one may have children of other tests."""
    children = psutil.Process().children()
    return next(c for c in children if any("executors.processes" in text for text in c.cmdline()))


def test_an_observer_is_entered_by_one_thread_at_a_time(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_FIRST", 0.01)
    observer = Overlaps()
    virnucpro.predict(
        EXAMPLES[1], tmp_path / "out", bundle=tiny_bundle.path, device="cpu,cpu",
        block_chunks=16, report=False, observer=observer,
    )  # fmt: skip
    assert observer.told.count("advanced") > 3
    assert any("died" in line for line in observer.told)
    assert any(line.startswith("waiting for the worker on cpu") for line in observer.told)
    assert not observer.overlapping
