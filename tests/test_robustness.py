"""A sample of what `benchmarks/robustness/` counts, and that its counting sees what it is for."""

import os
import random
import time
from pathlib import Path

import pytest

import bundles
import cli
import configs
import harness
import labels
import readers
import sheets
from harness import Case, Fuzzer, LostError, count, try_one
from virnucpro.errors import InputError

#: Scripts, and how many of their cases are tried here.
SAMPLES = [
    (cli.FUZZER, 5),
    (configs.FUZZER, 100),
    (sheets.FUZZER, 200),
    (bundles.FUZZER, 300),
    (labels.FUZZER, 200),
    (readers.FUZZER, 500),
]


@pytest.mark.parametrize(("fuzzer", "cases"), SAMPLES, ids=[f.name for f, _ in SAMPLES])
def test_a_sample_ends_well(fuzzer: Fuzzer, cases: int, tmp_path: Path) -> None:
    ended = [try_one(fuzzer, fuzzer.case(0, number), number, tmp_path) for number in range(cases)]
    assert not [end for end in ended if end.outcome not in harness.GOOD]
    assert {end.outcome for end in ended} == set(harness.GOOD)


def draw(chance: random.Random) -> Case:
    return Case(chance.choice(["ok", "refused", "fault", "hang", "memory", "lost", "crash"]), b"x")


def end_as_named(case: Case, _folder: Path) -> None:
    """End in the way that a case is called."""
    if case.kind == "hang":
        time.sleep(60)
    if case.kind == "crash":
        os._exit(7)
    if case.kind == "memory":
        bytearray(2 * harness.BYTES)
    errors = {"refused": InputError("x"), "fault": ValueError("x"), "lost": LostError("x")}
    if case.kind in errors:
        raise errors[case.kind]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_every_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SECONDS", 0.3)
    counts = count(Fuzzer("named", draw, end_as_named), 20, 1)
    assert sum(counts.total.values()) == 20
    for kind, found in counts.counts.items():
        assert set(found) == {"fault" if kind == "crash" else kind}
    assert len(counts.counts) == 7
    assert len(counts.faults) == 5
    assert {end.input for end in counts.faults.values()} == {b"x".hex()}
