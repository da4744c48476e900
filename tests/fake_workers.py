"""Devices whose workers are made up: slow, mortal, failing; what a pool of them tells."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.connection import Hello, Ready, WorkerDiedError
from virnucpro.runs.executors.slots import Endpoint
from virnucpro.runs.executors.worker_pool import Events, WorkerPool
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
        connections: all workers that were started.
    """

    name: str
    greeting: Hello = HELLO
    seconds: float = 0.0
    compute: Callable[[int], object] = lambda _: None
    greet: Callable[[], object] = lambda: None
    begin: Callable[[], object] = lambda: None
    budgets: Budgets = BUDGETS
    connections: list["FakeConnection"] = field(default_factory=list)

    @property
    def endpoint(self) -> Endpoint:
        """Return where a pool can start workers."""
        return Endpoint(self.name, self._connect)

    def _connect(self) -> "FakeConnection":
        self.connections.append(FakeConnection(self))
        return self.connections[-1]

    @property
    def sent(self) -> list[int]:
        """Return all blocks that were sent to its workers."""
        return [index for connection in self.connections for index in connection.sent]


class FakeConnection:
    """A worker that computes nothing; after its death it must be left alone.

    Attributes:
        sent: all blocks that it was sent.
        calls: what was asked of it otherwise.
        in_flight: blocks whose results were not received, oldest first.
        hands: what was in hand after each block that was sent.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._work = Work()
        self.sent: list[int] = []
        self.calls: list[str] = []
        self.in_flight: list[int] = []
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
        self.in_flight.append(block.index)
        self.hands.append(set(self.in_flight))

    def receive(self) -> Result:
        assert self.calls[-1] == "start"
        time.sleep(self._device.seconds)
        index = self.in_flight[0]
        self._device.compute(index)
        self._work.records += 1
        self.in_flight.pop(0)
        return Result(index, b"%d" % index, Work(self._work.records))

    def stop(self) -> None:
        self.calls.append("stop")


@dataclass
class Told:
    """What a pool told."""

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def events(self, on_done: Callable[[int], object] = lambda _: None) -> Events:
        """Return events that are written down here."""

        def done(block: Block, result: Result) -> None:
            assert result.shard == b"%d" % block.index
            on_done(block.index)
            self.done.append(block.index)

        def failed(block: Block, reason: str) -> None:
            self.failed[block.index] = reason

        return Events(done, failed, lambda r: self.ready.extend(r.backends), self.notes.append)


def blocks(number: int) -> Iterator[Block | None]:
    """Yield blocks; every third time there is none for now."""
    for index in range(number):
        yield Block(index)
        if index % 3 == 2:
            yield None


def pool_of(*devices: Device) -> WorkerPool:
    pool = WorkerPool([device.endpoint for device in devices])
    pool.hello()
    return pool


def run(*devices: Device, number: int) -> Told:
    told = Told()
    pool_of(*devices).run(blocks(number), BUDGETS, told.events())
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
