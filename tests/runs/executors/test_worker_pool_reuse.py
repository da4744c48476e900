"""A pool that does several runs: its workers are started once, and count each run for itself."""

import pytest

from fake_workers import BUDGETS, Device, Told, blocks, dying_once_of, dying_times, pool_of
from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.worker_pool import WorkerPool
from virnucpro.runs.work import Work


def again(pool: WorkerPool, number: int, budgets: Budgets = BUDGETS) -> Told:
    told = Told()
    pool.run(blocks(number), budgets, told.events())
    assert sorted(told.done) == list(range(number))
    return told


@pytest.mark.parametrize("number", [1, 2, 7])
def test_workers_are_started_once(number: int) -> None:
    devices = [Device("a", seconds=0.001), Device("b", seconds=0.001)]
    pool = pool_of(*devices)
    for _ in range(4):
        assert set(again(pool, number).ready) <= {"a", "b"}
    assert [len(device.connections) for device in devices] == [1, 1]
    calls = [call for device in devices for call in device.connections[0].calls]
    assert calls.count("hello") == 2
    assert 1 <= calls.count("start") <= 2


def test_each_run_is_told_how_the_networks_are_computed() -> None:
    pool = pool_of(Device("a"))
    assert [again(pool, 3).ready for _ in range(3)] == [["a"]] * 3


def test_work_counts_the_run_of_now() -> None:
    pool = pool_of(Device("a"), Device("b"))
    for number in (5, 30, 1, 0, 8):
        again(pool, number)
        assert pool.work == Work(records=number)
        assert sum(slot.frames for slot in pool.slots) == 0


def test_a_worker_that_dies_counts_in_its_run() -> None:
    device = Device("a", compute=dying_once_of(4))
    pool = pool_of(device)
    died = []
    for number in (3, 9, 9):
        again(pool, number)
        died.append(pool.slots[0].died)
        assert pool.work == Work(records=number)
    assert died == [0, 1, 0]
    assert len(device.connections) == 2


def test_a_device_that_was_given_up_stays_so() -> None:
    broken, healthy = Device("broken", begin=dying_times(99)), Device("healthy", seconds=0.005)
    pool = pool_of(broken, healthy)
    notes = [len(again(pool, 30).notes) for _ in range(3)]
    assert notes == [4, 0, 0]
    assert len(broken.connections) == 3


def test_a_run_with_other_budgets_gets_other_workers() -> None:
    device, other = Device("a"), Budgets(3, 2)
    pool = pool_of(device)
    again(pool, 4)
    device.budgets = other
    again(pool, 4, other)
    again(pool, 4, other)
    assert [connection.calls for connection in device.connections] == [
        ["hello", "start", "stop"],
        ["hello", "start"],
    ]
    assert pool.slots[0].died == 0
    assert pool.work == Work(records=4)


def test_work_since() -> None:
    earlier = Work(2, 30, 400, 1, 0, {"tokens": 1.0})
    later = Work(5, 70, 900, 1, 3, {"tokens": 1.5, "head": 0.25})
    assert later.since(earlier) == Work(3, 40, 500, 0, 3, {"tokens": 0.5, "head": 0.25})
    assert Work.sum([earlier, later.since(earlier)]) == later
