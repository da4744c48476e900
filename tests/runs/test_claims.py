"""Claims on blocks: one holder each, as long as it lives."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from virnucpro.runs.claims import TABLES, Claims

MAKERS = 6
BLOCKS = 200
#: Waits for the gate, then claims what it can, in an order of its own, and says what it got.
RACER = """
import random, sys, time
from pathlib import Path
from virnucpro.runs.claims import Claims

directory, gate, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
claims = Claims(directory)
order = sorted(range(int(sys.argv[4])), key=lambda i: (i // 20, random.Random(seed).random()))
print("ready", flush=True)
while not gate.exists():
    pass
for index in order:
    if claims.take(index):
        print(index)
        time.sleep(0.0005)
"""

MakeClaims = Callable[[], Claims]


@pytest.fixture
def make_claims(tmp_path: Path) -> Iterator[MakeClaims]:
    """Return a function that makes claims in one directory, as so many processes would."""
    made = []

    def make() -> Claims:
        made.append(Claims(tmp_path))
        return made[-1]

    yield make
    for claims in made:
        claims.close()


def age(directory: Path, index: int, seconds: float) -> None:
    """Let a claim be touched for the last time so long ago."""
    path = directory / f"{index:08d}.claim"
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_processes_that_race_get_each_claim_once(tmp_path: Path) -> None:
    directory, gate = tmp_path / "shards", tmp_path / "gate"
    directory.mkdir()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, directory, gate, str(seed), str(BLOCKS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(MAKERS)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    gate.touch()
    got = [[int(line) for line in racer.communicate()[0].split()] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * MAKERS
    assert sum(map(Counter, got), Counter()) == Counter(range(BLOCKS))
    assert sum(map(bool, got)) > 1, "one process had all of them"


def test_a_claim_has_one_holder(make_claims: MakeClaims) -> None:
    ours, theirs = make_claims(), make_claims()
    assert ours.take(3)
    assert not theirs.take(3)
    assert not ours.take(3)
    assert theirs.take(4)
    assert theirs.take(TABLES)
    assert not ours.take(TABLES)


def test_a_claim_that_is_given_up_can_be_taken(make_claims: MakeClaims, tmp_path: Path) -> None:
    ours, theirs = make_claims(), make_claims()
    assert ours.take(3)
    ours.release(3)
    assert list(tmp_path.iterdir()) == []
    assert theirs.take(3)


def test_the_end_of_a_holder_gives_up_all_its_claims_and_no_other(
    make_claims: MakeClaims, tmp_path: Path
) -> None:
    ours, theirs = make_claims(), make_claims()
    assert all(map(ours.take, [1, 2, TABLES]))
    assert theirs.take(5)
    ours.close()
    assert [path.name for path in tmp_path.iterdir()] == ["00000005.claim"]
    ours.close()
    assert all(map(theirs.take, [1, 2, TABLES]))


def test_a_claim_that_nobody_touched_for_a_minute_is_taken_over(
    make_claims: MakeClaims, tmp_path: Path
) -> None:
    ours, theirs, others = (make_claims() for _ in range(3))
    assert ours.take(3)
    age(tmp_path, 3, 61)
    assert theirs.take(3)
    assert not others.take(3)
    assert not ours.take(3)


@pytest.mark.parametrize("seconds", [0, 50, -600])
def test_a_claim_touched_less_than_a_minute_ago_is_not(
    make_claims: MakeClaims, tmp_path: Path, seconds: float
) -> None:
    ours, theirs = make_claims(), make_claims()
    assert ours.take(3)
    age(tmp_path, 3, seconds)
    assert not theirs.take(3)


def test_a_holder_touches_its_claims_as_long_as_it_lives(
    make_claims: MakeClaims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virnucpro.runs.claims._BEAT", 0.02)
    ours, theirs = make_claims(), make_claims()
    assert all(map(ours.take, range(5)))
    for index in range(5):
        age(tmp_path, index, 3600)
    deadline = time.monotonic() + 10
    while min(path.stat().st_mtime for path in tmp_path.glob("*.claim")) < time.time() - 60:
        assert time.monotonic() < deadline
    assert not any(map(theirs.take, range(5)))


def test_a_claim_that_was_given_up_is_not_touched_any_more(
    make_claims: MakeClaims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virnucpro.runs.claims._BEAT", 0.02)
    ours = make_claims()
    assert ours.take(0)
    ours.release(0)
    left_by_a_dead_process = tmp_path / "00000000.claim"
    left_by_a_dead_process.touch()
    age(tmp_path, 0, 3600)
    time.sleep(0.1)
    assert make_claims().take(0)


def test_nothing_can_be_claimed_once_the_run_is_finished(
    make_claims: MakeClaims, tmp_path: Path
) -> None:
    ours, theirs = make_claims(), make_claims()
    assert ours.take(3)
    shutil.rmtree(tmp_path)
    assert not theirs.take(3)
    assert not theirs.take(TABLES)
    ours.release(3)
    ours.close()
    assert not tmp_path.exists()
