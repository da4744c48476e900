"""A slot of the worker pool: one device, and the worker that currently serves it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.connection import Connection, Ready
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block


class Endpoint(NamedTuple):
    """A device that a worker can be started on.

    Attributes:
        name: name of the device.
        connect: starts a worker there and returns the connection to it.
    """

    name: str
    connect: Callable[[], Connection]


@dataclass
class Slot:
    """A device of the pool and its current worker; a worker that dies is replaced.

    Attributes:
        endpoint: starts workers on the device.
        connection: to the current worker.
        work: what each worker of this slot has done in the current run.
        earlier: what the current worker had done before this run.
        started: the budgets that the current worker was started with, and its answer.
        in_flight: the blocks sent to the worker that have no result yet, by index.
        died: number of workers replaced in the current run.
        is_dead: whether the current worker has died.
        is_given_up: whether dead workers are no longer replaced.
    """

    endpoint: Endpoint
    connection: Connection
    work: list[Work] = field(default_factory=lambda: [Work()])
    earlier: Work = field(default_factory=Work)
    started: tuple[Budgets, Ready] | None = None
    in_flight: dict[int, Block] = field(default_factory=dict)
    died: int = 0
    is_dead: bool = False
    is_given_up: bool = False

    @property
    def name(self) -> str:
        """Name of the device."""
        return self.endpoint.name

    @property
    def frames(self) -> int:
        """Number of frames scored in this slot."""
        return sum(work.frames for work in self.work)

    def replace(self) -> None:
        """Start a new worker in place of one that died."""
        self.died += 1
        self._reconnect()

    def _reconnect(self) -> None:
        self.connection, self.started, self.is_dead = self.endpoint.connect(), None, False
        self.work.append(Work())
        self.earlier = Work()

    def start(self, budgets: Budgets) -> Ready:
        """Return once a live worker has its networks loaded; do nothing if one already has."""
        if self.is_dead:
            self.replace()
            self.connection.hello()
        elif self.started is not None and self.started[0] != budgets:
            self.connection.stop()
            self._reconnect()
            self.connection.hello()
        if self.started is None:
            self.started = budgets, self.connection.start(budgets)
        return self.started[1]

    def record(self, work: Work) -> None:
        """Record what the current worker has done since it was started."""
        self.work[-1] = work.since(self.earlier)

    def begin_run(self) -> None:
        """Reset the counts for another run."""
        self.earlier = Work.sum([self.earlier, self.work[-1]])
        self.work, self.died = [Work()], 0
