"""A crew of workers that are slow, die, or fail; only the links to them are made up here."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest

from virnucpro.engine.blocks import Block
from virnucpro.engine.devices import Budgets
from virnucpro.engine.executors.crew import Crew, Events, Place
from virnucpro.engine.executors.links import Hello, Ready, WorkerDiedError
from virnucpro.engine.pipeline import Result
from virnucpro.engine.worker import Work
from virnucpro.errors import RunError, SettingsError

BUDGETS = Budgets(7, 5)
HELLO = Hello("sort a", "fp32", BUDGETS)


@dataclass
class Device:
    """A device of this test: what its workers do, and those that were started on it.

    Attributes:
        name: of the device.
        greeting: what its workers say first.
        seconds: that a block takes.
        compute: is called with each block; raises what the worker is to raise.
        begin: is called at each start of a worker.
        links: all workers that were started.
    """

    name: str
    greeting: Hello = HELLO
    seconds: float = 0.0
    compute: Callable[[int], object] = lambda _: None
    begin: Callable[[], object] = lambda: None
    links: list["FakeLink"] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """Return where a crew can start workers."""
        return Place(self.name, self._make_link)

    def _make_link(self) -> "FakeLink":
        self.links.append(FakeLink(self))
        return self.links[-1]

    @property
    def sent(self) -> list[int]:
        """Return all blocks that were sent to its workers."""
        return [index for link in self.links for index in link.sent]


class FakeLink:
    """A worker that computes nothing; after its death it must be left alone."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._waiting: queue.Queue[int] = queue.Queue()
        self._work = Work()
        self.sent: list[int] = []
        self.calls: list[str] = []
        self.most_in_hand = 0

    def hello(self) -> Hello:
        self.calls.append("hello")
        return self._device.greeting

    def start(self, budgets: Budgets) -> Ready:
        assert self.calls == ["hello"]
        assert budgets == BUDGETS
        self.calls.append("start")
        self._device.begin()
        return Ready([self._device.name], [])

    def send(self, block: Block) -> None:
        assert self.calls[-1] == "start"
        self.sent.append(block.index)
        self._waiting.put(block.index)
        self.most_in_hand = max(self.most_in_hand, self._waiting.qsize())

    def receive(self) -> Result:
        assert self.calls[-1] == "start"
        time.sleep(self._device.seconds)
        index = self._waiting.get(timeout=20)
        self._device.compute(index)
        self._work.records += 1
        return Result(index, b"%d" % index, Work(self._work.records))

    def stop(self) -> None:
        self.calls.append("stop")


@dataclass
class Told:
    """What a crew told."""

    done: list[int] = field(default_factory=list)
    set_aside: dict[int, str] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def events(self, on_done: Callable[[int], object] = lambda _: None) -> Events:
        """Return events that are written down here."""

        def done(block: Block, result: Result) -> None:
            assert result.shard == b"%d" % block.index
            on_done(block.index)
            self.done.append(block.index)

        def set_aside(block: Block, reason: str) -> None:
            self.set_aside[block.index] = reason

        return Events(done, set_aside, lambda r: self.ready.extend(r.ways), self.notes.append)


def blocks(number: int) -> Iterator[Block | None]:
    """Yield blocks; every third time there is none for now."""
    for index in range(number):
        yield Block(index)
        if index % 3 == 2:
            yield None


def crew_of(*devices: Device) -> Crew:
    crew = Crew([device.place for device in devices])
    crew.hello()
    return crew


def run(*devices: Device, number: int) -> Told:
    told = Told()
    crew_of(*devices).run(blocks(number), BUDGETS, told.events())
    return told


def dying_of(*killers: int) -> Callable[[int], None]:
    """Return a computation that some blocks end."""

    def compute(index: int) -> None:
        if index in killers:
            raise WorkerDiedError(f"killed by block {index}")

    return compute


def dying_at(moments: set[int]) -> Callable[[object], None]:
    """Return a call that fails at some of the times that it is called."""
    calls = count()

    def call(_: object = None) -> None:
        if next(calls) in moments:
            raise WorkerDiedError("out of luck")

    return call


def test_blocks_are_shared_out_by_speed() -> None:
    fast, slow = Device("fast", seconds=0.002), Device("slow", seconds=0.05)
    told = run(fast, slow, number=60)
    assert sorted(told.done) == sorted(fast.sent + slow.sent) == list(range(60))
    assert 0 < len(slow.sent) < len(fast.sent) / 3
    assert sorted(told.ready) == ["fast", "slow"]
    assert told.notes == []


def test_a_worker_has_a_few_blocks_in_hand_and_no_more() -> None:
    device = Device("a", seconds=0.002)
    run(device, number=20)
    assert 2 <= device.links[0].most_in_hand <= 3


def test_the_work_of_all_workers_is_summed() -> None:
    devices = [Device("a", seconds=0.002), Device("b", compute=dying_at({4}))]
    crew = crew_of(*devices)
    crew.run(blocks(30), BUDGETS, Told().events())
    assert crew.work == Work(records=30)
    assert len(devices[1].links) == 2


@pytest.mark.parametrize("others", [0, 1])
def test_a_worker_that_dies_is_replaced(others: int) -> None:
    mortal = Device("mortal", compute=dying_at({0, 3, 4, 9}), seconds=0.001)
    told = run(mortal, *[Device("b", seconds=0.002)] * others, number=40)
    assert sorted(told.done) == list(range(40))
    assert told.set_aside == {}
    assert len(mortal.links) == 5
    assert all(link.calls == ["hello", "start", "stop"] for link in mortal.links[:-1])
    assert mortal.links[-1].calls == ["hello", "start"]
    assert "the worker on mortal died (out of luck); 3 blocks" in told.notes[0]


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_a_block_that_always_kills_is_set_aside(devices: int) -> None:
    told = run(*[Device(f"d{i}", compute=dying_of(4)) for i in range(devices)], number=30)
    assert told.set_aside == {4: "killed by block 4"}
    assert sorted([4, *told.done]) == list(range(30))


@pytest.mark.xfail(strict=True, reason="deaths that blocks explain count against the device")
def test_blocks_that_always_kill_may_follow_each_other() -> None:
    told = run(Device("a", compute=dying_of(4, 5)), number=30)
    assert told.set_aside == {4: "killed by block 4", 5: "killed by block 5"}
    assert sorted([4, 5, *told.done]) == list(range(30))


def test_a_device_whose_workers_die_at_each_start_is_given_up() -> None:
    broken = Device("broken", begin=dying_at(set(range(100))))
    healthy = Device("healthy", seconds=0.005)
    told = run(broken, healthy, number=30)
    assert sorted(told.done) == list(range(30))
    assert len(broken.links) == 3
    assert told.notes[-1] == "broken is given up: its workers die again and again"


def test_without_any_device_the_run_fails() -> None:
    broken = [Device(name, begin=dying_at(set(range(100)))) for name in ("a", "b")]
    with pytest.raises(RunError, match=r"workers on [ab] die again and again \(out of luck\)"):
        run(*broken, number=5)
    assert [len(device.links) for device in broken] == [3, 3]


def failing_at(index: int, error: Exception) -> Callable[[int], None]:
    def compute(found: int) -> None:
        if found == index:
            raise error

    return compute


def test_an_expected_failure_of_a_worker_stops_the_run() -> None:
    failing = Device("a", compute=failing_at(3, SettingsError("not finite")), seconds=0.002)
    other, told = Device("b", seconds=0.01), Told()
    with pytest.raises(SettingsError, match="not finite"):
        crew_of(failing, other).run((Block(i) for i in count()), BUDGETS, told.events())
    assert len(failing.links) == 1
    assert set(other.sent) <= set(told.done), "blocks in hand are done first"


def test_a_result_that_cannot_be_kept_stops_the_run() -> None:
    told, full = Told(), OSError(28, "No space left on device")
    device = Device("a", seconds=0.001)
    with pytest.raises(OSError, match="No space left") as raised:
        crew_of(device).run((Block(i) for i in count()), BUDGETS, told.events(failing_at(5, full)))
    assert raised.value is full
    assert told.done == [0, 1, 2, 3, 4]


def test_an_input_that_cannot_be_read_on_stops_the_run() -> None:
    def failing() -> Iterator[Block]:
        yield from map(Block, range(7))
        raise EOFError("truncated")

    told = Told()
    with pytest.raises(EOFError, match="truncated"):
        crew_of(Device("a")).run(failing(), BUDGETS, told.events())
    assert told.done == list(range(len(told.done)))


def test_ways_that_differ_stop_the_run() -> None:
    def refuse(_: Ready) -> None:
        raise RunError("computed in another way")

    told = Told().events()
    events = Events(told.done, told.set_aside, refuse, told.noted)
    device = Device("a")
    with pytest.raises(RunError, match="another way"):
        crew_of(device).run(blocks(3), BUDGETS, events)
    assert device.sent == []


def test_blocks_in_hand_are_finished_when_the_caller_is_interrupted() -> None:
    def interrupt(index: int) -> None:
        if index == 6:
            signal.raise_signal(signal.SIGINT)

    devices = [Device("a", compute=interrupt, seconds=0.01), Device("b", seconds=0.02)]
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        crew_of(*devices).run((Block(i) for i in count()), BUDGETS, told.events())
    assert sorted(told.done) == sorted(devices[0].sent + devices[1].sent)
    assert len(told.done) > 6


def test_an_interrupted_run_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virnucpro.engine.executors.crew._GRACE", 0.3)
    is_over = threading.Event()

    def hang(_: int) -> None:
        signal.raise_signal(signal.SIGINT)
        is_over.wait(20)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        crew_of(Device("a", compute=hang)).run(blocks(9), BUDGETS, Told().events())
    assert time.monotonic() - started < 5
    is_over.set()


@pytest.mark.parametrize("greeting", [HELLO._replace(kind="b"), HELLO._replace(precision="bf16")])
def test_devices_of_different_kinds_are_refused(greeting: Hello) -> None:
    crew = Crew([Device("x:0").place, Device("x:1", greeting).place])
    with pytest.raises(
        SettingsError, match="--device x:0,x:1: x:1 is a .*; give devices of a kind"
    ):
        crew.hello()


def test_the_smallest_budgets_are_taken() -> None:
    greetings = [HELLO._replace(budgets=Budgets(*pair)) for pair in ((9, 2), (3, 8), (5, 5))]
    crew = Crew([Device(f"x:{i}", greeting).place for i, greeting in enumerate(greetings)])
    assert crew.hello() == HELLO._replace(budgets=Budgets(3, 2))


def test_a_worker_that_dies_before_it_is_met_is_an_error_with_its_device() -> None:
    class Stillborn(FakeLink):
        def hello(self) -> Hello:
            raise WorkerDiedError("its process ended with status 1")

    with pytest.raises(RunError, match="the worker on x could not be started: its process ended"):
        Crew([Place("x", lambda: Stillborn(Device("x")))]).hello()


def test_stop_lets_go_of_all_workers() -> None:
    devices = [Device("a"), Device("b")]
    crew_of(*devices).stop()
    assert [device.links[0].calls[-1] for device in devices] == ["stop", "stop"]
