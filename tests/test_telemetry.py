"""What a run says while it goes."""

import io
from itertools import count
from pathlib import Path

import pytest

from virnucpro.engine.scoring import Progress
from virnucpro.engine.work import Work
from virnucpro.jobs import Plan
from virnucpro.results.paths import Outputs
from virnucpro.telemetry import Reporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes 100 seconds on at every look."""
    ticks = count(0, 100)
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))


def plan(directory: Path) -> Plan:
    outputs, how, notes = Outputs(directory), "chunks of 300 bp", ["a note"]
    return Plan("predict", outputs, "tiny 1", how, ["cpu"], "cpu", "fp32", 4000, notes)


@pytest.mark.usefixtures("clock")
def test_progress_tells_rate_share_and_time_left(tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.planned(plan(tmp_path))
    reporter.advanced(Progress(3000, 1000, 2000, 1000, Work(records=2000)))
    last = stream.getvalue().strip().splitlines()[-1]
    assert last == "3,000 records, 1,000 from before, 20 records/s, 50%, 3:20 left"


def test_quiet_says_notes_only(tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream, quiet=True)
    reporter.planned(plan(tmp_path))
    reporter.advanced(Progress(1, 0, 1, 0, Work(records=1)))
    reporter.merging()
    assert stream.getvalue() == "note: a note\n"
