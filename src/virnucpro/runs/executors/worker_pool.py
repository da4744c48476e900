"""The executor: hands the blocks of a run to its workers, wherever they are.

One thread for each worker talks to it; none computes. Local processes, Ray's actors and ranks of a
launcher differ in their links and nothing else.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from virnucpro.errors import RunError, SettingsError
from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.block_queue import Handout
from virnucpro.runs.executors.connection import Hello, Ready, WorkerDiedError
from virnucpro.runs.executors.slots import Member, Place
from virnucpro.runs.task import Result
from virnucpro.runs.waiting import announced
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block

#: Blocks that a worker has in hand: on the device, prepared, and on the way.
_DEPTH = 3
#: Deaths in a row after which a device is given up: before a worker is ready, and with blocks in
#: hand, where two neighbours that kill account for three.
_STARTS, _DEATHS = 3, 5
#: Seconds between looks for a block when there is none for now.
_PAUSE = 0.05
#: Seconds that blocks in hand get when a run is stopped.
_GRACE = 8.0


@dataclass(frozen=True)
class Events:
    """What an executor tells while it runs, in the threads of its workers.

    Attributes:
        done: a block's result came.
        set_aside: a block killed its workers; with the reason.
        ready: a worker's networks are loaded.
        noted: a line for the user.
        watch: called now and then by the thread that waits; raises RunError where no result can
            be kept any more.
    """

    done: Callable[[Block, Result], None]
    set_aside: Callable[[Block, str], None]
    ready: Callable[[Ready], None]
    noted: Callable[[str], None]
    watch: Callable[[], None] = lambda: None


class Crew:
    """All workers of a run, or of several runs one after the other.

    Args:
        places: where workers are wanted; they are started at once.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.members = [Member(place, place.make_link()) for place in places]
        self._stopped = threading.Event()
        self._has_run = False

    @property
    def work(self) -> Work:
        """What all workers have done so far in the run of now."""
        return Work.sum(work for member in self.members for work in member.work)

    def hello(self, noted: Callable[[str], None] = lambda _: None) -> Hello:
        """Meet all workers; the smallest budgets count.

        Args:
            noted: takes a line for the user, as that a worker is waited for.

        Raises:
            SettingsError: when their devices are not of one kind, so that results would differ.
            RunError: when one dies.
        """
        found = {member.name: self._meet(member, noted) for member in self.members}
        first = next(iter(found.values()))
        for name, hello in found.items():
            if (hello.kind, hello.precision) != (first.kind, first.precision):
                raise SettingsError(
                    f"--device {','.join(found)}: {name} is a {hello.kind} in {hello.precision}, "
                    f"{next(iter(found))} a {first.kind} in {first.precision}, "
                    "whose results are not the same bytes; give devices of a kind"
                )
        budgets = [hello.budgets for hello in found.values()]
        smallest = Budgets(min(b.protein for b in budgets), min(b.dna for b in budgets))
        return first._replace(budgets=smallest)

    def _meet(self, member: Member, noted: Callable[[str], None]) -> Hello:
        """Meet a worker; one that dies before it says a word is replaced."""
        with announced(noted, lambda: member.link.awaited):
            for _ in range(_STARTS - 1):
                with suppress(WorkerDiedError):
                    return member.link.hello()
                if self._stopped.is_set():
                    break
                member.link.stop()
                member.replace()
            try:
                return member.link.hello()
            except WorkerDiedError as error:
                raise RunError(
                    f"the worker on {member.name} could not be started: {error}; "
                    "try another --device, or give it more memory"
                ) from error

    def run(self, blocks: Iterator[Block | None], budgets: Budgets, events: Events) -> None:
        """Have every block computed.

        Call it again for another run, which finds the networks loaded; not after it has raised.

        Args:
            blocks: those to compute; None where there is none for now.
            budgets: of the run.
            events: is told what happens.

        Raises:
            VirnucproError: as a worker did, the blocks in hand are done first; or as `watch` did.
        """
        for member in self.members if self._has_run else []:
            member.begin_another_run()
        self._has_run = True
        members = [member for member in self.members if not member.is_given_up]
        round_ = _Round(Handout(blocks), budgets, events, len(members), self._stopped)
        threads = [
            threading.Thread(target=round_.serve, args=(member,), daemon=True) for member in members
        ]
        grace = _GRACE
        try:
            for thread in threads:
                thread.start()
            while round_.error is None and (alive := [t for t in threads if t.is_alive()]):
                alive[0].join(_PAUSE)  # a signal is answered here
                events.watch()
        except RunError:
            grace = 0.0
            raise
        finally:
            round_.handout.stop()
            deadline = time.monotonic() + grace
            while any(member.in_hand for member in self.members) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        if round_.error is not None:
            raise round_.error

    def stop(self) -> None:
        """Let go of all workers at once: each may take a second. What runs ends."""
        self._stopped.set()
        if not threading.main_thread().is_alive():  # no thread starts any more
            for member in self.members:
                member.link.stop()
            return
        threads = []
        for member in self.members:
            thread = threading.Thread(target=member.link.stop)
            try:
                thread.start()
                threads.append(thread)
            except RuntimeError:  # a limit on threads is reached
                member.link.stop()
        for thread in threads:
            thread.join()


class _Round:
    """What the threads of the workers share."""

    def __init__(
        self,
        handout: Handout,
        budgets: Budgets,
        events: Events,
        members: int,
        stopped: threading.Event,
    ) -> None:
        self.handout, self._budgets, self._events = handout, budgets, events
        self._members, self._stopped = members, stopped
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def serve(self, member: Member) -> None:
        """Keep one worker busy until nothing is left; runs in a thread."""
        try:
            self._serve(member)
        except BaseException as error:  # noqa: BLE001 (raised again by `Crew.run`)
            if not self._is_left:
                self._fail(error)
        if self._is_left:
            self._fail(RunError("nobody waits for the run any more; the same call continues it"))
        member.in_hand.clear()

    @property
    def _is_left(self) -> bool:
        """Whether nobody waits for results: the crew is stopped, or the interpreter ends."""
        return self._stopped.is_set() or not threading.main_thread().is_alive()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error
        self.handout.stop()

    def _serve(self, member: Member) -> None:
        in_hand = member.in_hand
        is_ready, fruitless = False, 0
        while (in_hand or not self.handout.is_over) and not self._is_left:
            try:
                if not is_ready:
                    with announced(self._events.noted, lambda: member.link.awaited):
                        ready = member.start(self._budgets)
                    self._events.ready(ready)
                    is_ready = True
                self._fill(member, in_hand)
                if not in_hand:
                    time.sleep(_PAUSE)
                    continue
                result = member.link.receive()
            except WorkerDiedError as death:
                if self._is_left or (self.handout.is_over and not in_hand):
                    return
                fruitless += 1
                most = _DEATHS if in_hand else _STARTS
                self._bury(member, in_hand, str(death))
                if fruitless >= most:
                    self._give_up(member, str(death))
                    return
                is_ready = False
                continue
            fruitless = 0
            member.note(result.work)
            self._events.done(in_hand[result.block], result)
            del in_hand[result.block]
            self.handout.finish()

    def _fill(self, member: Member, in_hand: dict[int, Block]) -> None:
        """Send blocks until the worker has enough; one under suspicion stays alone."""
        while len(in_hand) < _DEPTH:
            if any(map(self.handout.is_suspect, in_hand.values())):
                return
            try:
                block = self.handout.take(has_others=bool(in_hand))
            except Exception as error:  # noqa: BLE001 (raised again once those in hand are done)
                self._fail(error)
                return
            if block is None:
                return
            in_hand[block.index] = block
            member.link.send(block)

    def _bury(self, member: Member, in_hand: dict[int, Block], reason: str) -> None:
        """Give the blocks of a worker that died back; set those aside that killed two."""
        member.is_dead = True
        member.link.stop()
        self._events.noted(
            f"the worker on {member.name} died ({reason}); {len(in_hand)} blocks are computed again"
        )
        for block in self.handout.give_back(list(in_hand.values())):
            self._events.set_aside(block, reason)
        in_hand.clear()

    def _give_up(self, member: Member, reason: str) -> None:
        """Go on without a device; without any, the run fails."""
        member.is_given_up = True
        with self._lock:
            self._members -= 1
            is_last = not self._members
        if is_last:
            self._fail(
                RunError(
                    f"workers on {member.name} die again and again ({reason}); mend that, "
                    "the same command then continues"
                )
            )
        else:
            self._events.noted(f"{member.name} is given up: its workers die again and again")
