"""A pool distributes blocks to workers that are slow or die; only the connections are fakes."""

from threading import Barrier

import pytest

from fake_workers import (
    BUDGETS,
    HELLO,
    Device,
    Told,
    blocks,
    dying_of,
    dying_once_of,
    dying_times,
    pool_of,
    run,
    stillborn,
)
from virnucpro.errors import RunError, SettingsError
from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.connection import Hello
from virnucpro.runs.executors.worker_pool import WorkerPool
from virnucpro.runs.work import Work


def test_blocks_are_shared_out_by_speed() -> None:
    together = Barrier(2).wait
    fast, slow = (Device(str(s), seconds=s, begin=together) for s in (0.002, 0.05))
    told = run(fast, slow, number=60)
    assert sorted(told.done) == sorted(fast.sent + slow.sent) == list(range(60))
    assert 0 < len(slow.sent) < len(fast.sent) / 3
    assert sorted(told.ready) == ["0.002", "0.05"]
    assert told.notes == []


def test_a_worker_has_a_few_blocks_in_hand_and_no_more() -> None:
    device = Device("a", seconds=0.002)
    run(device, number=20)
    assert max(map(len, device.connections[0].hands)) == 3


def test_the_work_of_all_workers_is_summed() -> None:
    compute = dying_once_of(4)
    devices = [Device(name, compute=compute, seconds=0.001) for name in ("a", "b")]
    pool = pool_of(*devices)
    pool.run(blocks(30), BUDGETS, Told().events())
    assert pool.work == Work(records=30)
    assert sum(len(device.connections) for device in devices) == 3


def test_a_worker_that_dies_is_replaced() -> None:
    mortal = Device("mortal", compute=dying_once_of(0, 4, 9, 20))
    told = run(mortal, number=40)
    assert sorted(told.done) == list(range(40))
    assert told.failed == {}
    assert len(mortal.connections) == 5
    assert all(
        connection.calls == ["hello", "start", "stop"] for connection in mortal.connections[:-1]
    )
    assert mortal.connections[-1].calls == ["hello", "start"]
    assert "the worker on mortal died (out of luck); 3 blocks" in told.notes[0]


def test_what_a_worker_died_with_is_computed_with_nothing_else_in_hand() -> None:
    mortal = Device("mortal", compute=dying_once_of(0, 4, 9, 20))
    run(mortal, number=40)
    suspects = set[int]()
    for connection in mortal.connections:
        assert all(len(hand) == 1 for hand in connection.hands if hand & suspects)
        suspects.update(connection.in_flight)
    assert len(suspects) > 8


def test_others_go_on_while_a_worker_is_replaced() -> None:
    compute = dying_once_of(0, 4, 9, 20)
    devices = [Device(name, compute=compute, seconds=0.002) for name in ("a", "b", "c")]
    told = run(*devices, number=40)
    assert sorted(told.done) == list(range(40))
    assert told.failed == {}
    assert sum(len(device.connections) for device in devices) == 3 + 4


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_a_block_that_always_kills_is_set_aside(devices: int) -> None:
    told = run(*[Device(f"d{i}", compute=dying_of(4)) for i in range(devices)], number=30)
    assert told.failed == {4: "killed by block 4"}
    assert sorted([4, *told.done]) == list(range(30))


def test_blocks_that_always_kill_may_follow_each_other() -> None:
    told = run(Device("a", compute=dying_of(4, 5)), number=30)
    assert told.failed == {4: "killed by block 4", 5: "killed by block 5"}
    assert sorted([4, 5, *told.done]) == list(range(30))


def test_a_device_whose_workers_die_at_each_start_is_given_up() -> None:
    broken = Device("broken", begin=stillborn)
    healthy = Device("healthy", seconds=0.005)
    told = run(broken, healthy, number=30)
    assert sorted(told.done) == list(range(30))
    assert len(broken.connections) == 3
    assert told.notes[-1] == "broken is given up: its workers die again and again"


def test_without_any_device_the_run_fails() -> None:
    broken = [Device(name, begin=stillborn) for name in ("a", "b")]
    with pytest.raises(RunError, match=r"workers on [ab] die again and again \(no driver\)"):
        run(*broken, number=5)
    assert [len(device.connections) for device in broken] == [3, 3]


@pytest.mark.parametrize("greeting", [HELLO._replace(kind="b"), HELLO._replace(precision="bf16")])
def test_devices_of_different_kinds_are_refused(greeting: Hello) -> None:
    pool = WorkerPool([Device("x:0").endpoint, Device("x:1", greeting).endpoint])
    with pytest.raises(SettingsError, match=r"x:0,x:1: x:1 is a .*; their results would differ"):
        pool.hello()


def test_the_smallest_budgets_are_taken() -> None:
    greetings = [HELLO._replace(budgets=Budgets(*pair)) for pair in ((9, 2), (3, 8), (5, 5))]
    pool = WorkerPool([Device(f"x:{i}", greeting).endpoint for i, greeting in enumerate(greetings)])
    assert pool.hello() == HELLO._replace(budgets=Budgets(3, 2))


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_that_dies_before_it_is_met_is_replaced(deaths: int) -> None:
    device = Device("a", greet=dying_times(deaths))
    told = run(device, number=5)
    assert told.done == list(range(5))
    assert len(device.connections) == deaths + 1
    assert all(connection.calls == ["hello", "stop"] for connection in device.connections[:-1])


def test_workers_that_die_before_they_are_met_are_an_error_with_their_device() -> None:
    device = Device("x", greet=stillborn)
    with pytest.raises(RunError, match=r"the worker on x could not be started: no driver;"):
        pool_of(device)
    assert len(device.connections) == 3


def test_stop_lets_go_of_all_workers() -> None:
    devices = [Device("a"), Device("b")]
    pool_of(*devices).stop()
    assert [device.connections[0].calls[-1] for device in devices] == ["stop", "stop"]
