"""A member of a crew: a place for a worker, and the worker that is there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.connection import Link, Ready
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block


class Place(NamedTuple):
    """Where a worker is wanted.

    Attributes:
        name: of its device.
        make_link: starts a worker there.
    """

    name: str
    make_link: Callable[[], Link]


@dataclass
class Member:
    """A place and its worker; one that dies is replaced.

    Attributes:
        place: where.
        link: to the worker of now.
        work: what each worker of this place did in the run of now.
        earlier: what the worker of now had done before this run.
        started: what the worker of now was started with, and what it said then.
        in_hand: blocks that the worker has, by index.
        died: workers that were replaced in the run of now.
        is_dead: whether the worker of now died.
        is_given_up: whether there will be no other one.
    """

    place: Place
    link: Link
    work: list[Work] = field(default_factory=lambda: [Work()])
    earlier: Work = field(default_factory=Work)
    started: tuple[Budgets, Ready] | None = None
    in_hand: dict[int, Block] = field(default_factory=dict)
    died: int = 0
    is_dead: bool = False
    is_given_up: bool = False

    @property
    def name(self) -> str:
        """Of the device."""
        return self.place.name

    @property
    def frames(self) -> int:
        """Scored in this place."""
        return sum(work.frames for work in self.work)

    def replace(self) -> None:
        """Start another worker for one that died."""
        self.died += 1
        self._renew()

    def _renew(self) -> None:
        self.link, self.started, self.is_dead = self.place.make_link(), None, False
        self.work.append(Work())
        self.earlier = Work()

    def start(self, budgets: Budgets) -> Ready:
        """Have a worker that lives and has its networks loaded; one that has is left alone."""
        if self.is_dead:
            self.replace()
            self.link.hello()
        elif self.started is not None and self.started[0] != budgets:
            self.link.stop()
            self._renew()
            self.link.hello()
        if self.started is None:
            self.started = budgets, self.link.start(budgets)
        return self.started[1]

    def note(self, work: Work) -> None:
        """Note what the worker of now has done since it was started."""
        self.work[-1] = work.since(self.earlier)

    def begin_another_run(self) -> None:
        """Count from zero."""
        self.earlier = Work.sum([self.earlier, self.work[-1]])
        self.work, self.died = [Work()], 0
