"""What a run says while it goes."""

import io
from itertools import count
from pathlib import Path

import pytest

from virnucpro.bundles import Bundle
from virnucpro.engine.scoring import Progress
from virnucpro.engine.worker import Work
from virnucpro.execution import Plan
from virnucpro.results.paths import Outputs
from virnucpro.telemetry import Reporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes 100 seconds on at every look."""
    ticks = count(0, 100)
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))


def plan(bundle: Bundle, directory: Path) -> Plan:
    return Plan(
        ["reads.fa"], Outputs(directory), bundle, ["cpu"], "cpu", "fp32", 300, 4000, ["a note"]
    )


@pytest.mark.usefixtures("clock")
def test_progress_tells_rate_share_and_time_left(tiny_bundle: Bundle, tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.planned(plan(tiny_bundle, tmp_path))
    reporter.advanced(Progress(3000, 1000, 2000, 1000, Work(records=2000)))
    last = stream.getvalue().strip().splitlines()[-1]
    assert last == "3,000 records, 1,000 from before, 20 records/s, 50%, 3:20 left"


def test_quiet_says_notes_only(tiny_bundle: Bundle, tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream, quiet=True)
    reporter.planned(plan(tiny_bundle, tmp_path))
    reporter.advanced(Progress(1, 0, 1, 0, Work(records=1)))
    reporter.merging()
    assert stream.getvalue() == "note: a note\n"
