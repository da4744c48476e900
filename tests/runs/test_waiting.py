"""A wait is said after a while, and ends after a long one."""

import threading
import time

import pytest

from virnucpro.errors import RunError, SettingsError
from virnucpro.runs import waiting
from virnucpro.runs.waiting import Wait, announced


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_FIRST", 0.1)
    monkeypatch.setattr(waiting, "_AGAIN", 0.2)


def test_what_the_body_waits_for_is_said_again_and_again() -> None:
    told: list[str] = []
    things = iter(["a worker", "its networks", "more", "more", "more"])
    with announced(told.append, lambda: next(things)):
        time.sleep(0.5)
    count = len(told)
    assert told[:2] == [
        "waiting for a worker (0 s so far)",
        "waiting for its networks (0 s so far)",
    ]
    time.sleep(0.3)
    assert len(told) == count


def test_a_short_wait_is_not_said_and_leaves_no_thread() -> None:
    told: list[str] = []
    before = threading.active_count()
    for _ in range(50):
        with announced(told.append, lambda: "nothing"):
            pass
    time.sleep(0.2)
    assert not told
    assert threading.active_count() == before


def look_for_ever(wait: Wait) -> None:
    while True:
        wait.look()
        time.sleep(0.02)


def test_a_wait_is_said_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRNUCPRO_WAIT", "0.4")
    told: list[str] = []
    wait = Wait("the tables", told.append)
    started = time.monotonic()
    with pytest.raises(RunError, match=r"waited 0.4 s for the tables; .*VIRNUCPRO_WAIT"):
        look_for_ever(wait)
    assert 0.4 < time.monotonic() - started < 2
    assert told[0] == "waiting for the tables (0 s so far)"
    assert len(told) == 2


def test_a_wait_begins_again_when_something_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRNUCPRO_WAIT", "0.3")
    wait = Wait("blocks")
    for _ in range(4):
        time.sleep(0.15)
        wait.look()
        wait.begin()


@pytest.mark.parametrize("given", ["soon", "0", "-3", "nan"])
def test_a_limit_that_is_no_time_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRNUCPRO_WAIT", given)
    with pytest.raises(
        SettingsError, match=f"VIRNUCPRO_WAIT={given}: give a number of seconds, for example 600"
    ):
        Wait("anything")
