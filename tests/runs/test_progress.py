"""What a run says while it goes."""

import io
from itertools import count
from pathlib import Path

import pytest

from virnucpro.prediction.outputs.paths import Outputs, SheetOutputs
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.job import Plan, SamplePosition
from virnucpro.runs.progress import Reporter
from virnucpro.runs.work import Work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes 100 seconds on at every look."""
    ticks = count(0, 100)
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))


def plan(directory: Path, turn: SamplePosition | None = None) -> Plan:
    outputs, how, notes = Outputs(directory), "chunks of 300 bp", ["a note"]
    notes += [f"{turn.name}: of its own"] if turn else []
    return Plan("predict", outputs, "tiny 1", how, ["cpu"], "cpu", "fp32", 4000, notes, turn)


@pytest.mark.usefixtures("clock")
def test_progress_tells_rate_share_and_time_left(tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.planned(plan(tmp_path))
    reporter.advanced(Progress(3000, 1000, 2000, 1000, Work(records=2000)))
    last = stream.getvalue().strip().splitlines()[-1]
    assert last == "3,000 records, 1,000 resumed, 20 records/s, 50%, 3:20 left"


@pytest.mark.usefixtures("clock")
def test_progress_of_several_samples_counts_all_of_them(tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    together = SheetOutputs(tmp_path)
    for number, name in enumerate(("liver", "gut", "blank"), start=1):
        reporter.planned(plan(tmp_path / name, SamplePosition(name, number, 3, 12000, together)))
        if name == "liver":
            reporter.already_finished()
            continue
        reporter.advanced(Progress(2000, 0, 2000, 0, Work(records=2000)))
        if name == "gut":
            reporter.advanced(Progress(4000, 0, 4000, 0, Work(records=4000)))
            reporter.merging()
    said = stream.getvalue()
    assert [line for line in said.splitlines() if "will write in" in line] == [
        f"will write in {tmp_path}:",
        f"will write in {tmp_path}/SAMPLE, for each of 3 samples:",
    ]
    assert said.count("a note") == 1
    assert [line for line in said.splitlines() if "of its own" in line] == [
        f"note: {name}: of its own" for name in ("liver", "gut", "blank")
    ]
    assert "already finished" not in said
    assert [line for line in said.splitlines() if line.startswith("sample")] == [
        "sample 2 of 3 (gut): 2,000 records, 20 records/s, 50%, 5:00 left",
        "sample 2 of 3 (gut): 4,000 records, 20 records/s, 67%, 3:20 left",
        "sample 2 of 3 (gut): all records done, writing files",
        "sample 3 of 3 (blank): 2,000 records, 20 records/s, 83%, 1:40 left",
    ]


def test_quiet_says_notes_only(tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream, quiet=True)
    reporter.planned(plan(tmp_path))
    reporter.advanced(Progress(1, 0, 1, 0, Work(records=1)))
    reporter.merging()
    assert stream.getvalue() == "note: a note\n"
