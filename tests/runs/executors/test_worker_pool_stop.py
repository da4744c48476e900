"""A pool that must stop early: a failure, or a signal; what is in hand is finished first."""

import signal
import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from fake_workers import BUDGETS, Device, Told, blocks, failing_at, pool_of
from virnucpro.errors import RunError, SettingsError
from virnucpro.runs.executors.connection import Ready
from virnucpro.runs.executors.worker_pool import Events
from virnucpro.sequences.blocks import Block


def endless() -> Iterator[Block]:
    return map(Block, count())


def test_an_expected_failure_of_a_worker_stops_the_run() -> None:
    failing = Device("a", compute=failing_at(3, SettingsError("not finite")), seconds=0.002)
    other, told = Device("b", seconds=0.01), Told()
    with pytest.raises(SettingsError, match="not finite"):
        pool_of(failing, other).run(endless(), BUDGETS, told.events())
    assert len(failing.connections) == 1
    assert set(other.sent) <= set(told.done), "blocks in hand are done first"


def test_a_result_that_cannot_be_kept_stops_the_run() -> None:
    told, full = Told(), OSError(28, "No space left on device")
    device = Device("a", seconds=0.001)
    with pytest.raises(OSError, match="No space left") as raised:
        pool_of(device).run(endless(), BUDGETS, told.events(failing_at(5, full)))
    assert raised.value is full
    assert told.done == [0, 1, 2, 3, 4]


def test_an_input_that_cannot_be_read_on_stops_the_run() -> None:
    def failing() -> Iterator[Block]:
        yield from map(Block, range(7))
        raise EOFError("truncated")

    told = Told()
    with pytest.raises(EOFError, match="truncated"):
        pool_of(Device("a")).run(failing(), BUDGETS, told.events())
    assert told.done == list(range(len(told.done)))


def test_ways_that_differ_stop_the_run() -> None:
    def refuse(_: Ready) -> None:
        raise RunError("computed in another way")

    told = Told().events()
    events = Events(told.done, told.failed, refuse, told.notify)
    device = Device("a")
    with pytest.raises(RunError, match="another way"):
        pool_of(device).run(blocks(3), BUDGETS, events)
    assert device.sent == []


@pytest.mark.parametrize("devices", [1, 3])
def test_blocks_in_hand_are_finished_when_the_caller_is_interrupted(devices: int) -> None:
    def interrupt(index: int) -> None:
        if index == 6:
            signal.raise_signal(signal.SIGINT)

    seconds = [0.15, 0.05, 0.05][:devices]
    pool = [Device(f"d{i}", compute=interrupt, seconds=s) for i, s in enumerate(seconds)]
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        pool_of(*pool).run(endless(), BUDGETS, told.events())
    done = sorted(told.done)
    assert done == sorted(index for device in pool for index in device.sent)
    assert 6 in done


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Interrupt the run soon after this event is set; blocks in hand get little time."""
    monkeypatch.setattr("virnucpro.runs.executors.worker_pool._GRACE", 0.3)
    event = threading.Event()

    def interrupt() -> None:
        if event.wait(20):
            time.sleep(0.3)  # until all threads have been started
            signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    yield event
    thread.join()


def test_an_interrupted_run_does_not_wait_for_a_worker_that_hangs(
    signalled: threading.Event,
) -> None:
    is_over = threading.Event()

    def hang(_: int) -> None:
        signalled.set()
        is_over.wait(5)

    with pytest.raises(KeyboardInterrupt):
        pool_of(Device("a", compute=hang)).run(endless(), BUDGETS, Told().events())
    assert not is_over.is_set()
    is_over.set()


def test_an_interrupted_run_does_not_wait_for_its_input(signalled: threading.Event) -> None:
    is_over = threading.Event()
    device, told = Device("a"), Told()

    def stalling() -> Iterator[Block]:
        yield Block(0)
        signalled.set()
        is_over.wait(1.5)
        is_over.set()

    with pytest.raises(KeyboardInterrupt):
        pool_of(device).run(stalling(), BUDGETS, told.events())
    try:
        assert not is_over.is_set()
    finally:
        is_over.set()
