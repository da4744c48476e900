"""Devices whose workers are made up: slow, mortal, failing; what a crew of them tells."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.connection import Hello, Ready, WorkerDiedError
from virnucpro.runs.executors.slots import Place
from virnucpro.runs.executors.worker_pool import Crew, Events
from virnucpro.runs.task import Result
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block

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
        greet: is called when a worker is met.
        begin: is called when a worker is started.
        budgets: of the run.
        links: all workers that were started.
    """

    name: str
    greeting: Hello = HELLO
    seconds: float = 0.0
    compute: Callable[[int], object] = lambda _: None
    greet: Callable[[], object] = lambda: None
    begin: Callable[[], object] = lambda: None
    budgets: Budgets = BUDGETS
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
    """A worker that computes nothing; after its death it must be left alone.

    Attributes:
        sent: all blocks that it was sent.
        calls: what was asked of it otherwise.
        in_hand: blocks whose results were not received, oldest first.
        hands: what was in hand after each block that was sent.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._work = Work()
        self.sent: list[int] = []
        self.calls: list[str] = []
        self.in_hand: list[int] = []
        self.hands: list[set[int]] = []

    @property
    def awaited(self) -> str:
        return f"the worker on {self._device.name}"

    def hello(self) -> Hello:
        self.calls.append("hello")
        self._device.greet()
        return self._device.greeting

    def start(self, budgets: Budgets) -> Ready:
        assert self.calls == ["hello"]
        assert budgets == self._device.budgets
        self.calls.append("start")
        self._device.begin()
        return Ready([self._device.name], [])

    def send(self, block: Block) -> None:
        assert self.calls[-1] == "start"
        self.sent.append(block.index)
        self.in_hand.append(block.index)
        self.hands.append(set(self.in_hand))

    def receive(self) -> Result:
        assert self.calls[-1] == "start"
        time.sleep(self._device.seconds)
        index = self.in_hand[0]
        self._device.compute(index)
        self._work.records += 1
        self.in_hand.pop(0)
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


def dying_once_of(*killers: int) -> Callable[[int], None]:
    """Return a computation that some blocks end, but not when they are tried again."""
    left = set(killers)

    def compute(index: int) -> None:
        if index in left:
            left.remove(index)
            raise WorkerDiedError("out of luck")

    return compute


def stillborn() -> None:
    raise WorkerDiedError("no driver")


def dying_times(number: int) -> Callable[[], None]:
    """Return a call that fails so many times."""
    left = iter(range(number))

    def call() -> None:
        for _ in left:
            stillborn()

    return call


def failing_at(index: int, error: Exception) -> Callable[[int], None]:
    """Return a call that fails from a block on."""

    def call(found: int) -> None:
        if found >= index:
            raise error

    return call
