"""The worker pool: hands the blocks of a run to its workers, wherever these run.

Each slot has a thread that talks to its worker; these threads compute nothing. Local processes, Ray
actors and the ranks of a launcher differ only in their connections.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from virnucpro.errors import RunError, SettingsError
from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.block_queue import BlockQueue
from virnucpro.runs.executors.connection import Hello, Ready, WorkerDiedError
from virnucpro.runs.executors.slots import Endpoint, Slot
from virnucpro.runs.task import Result
from virnucpro.runs.waiting import announced
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block

#: Blocks in flight on one worker: on the device, prepared, and on the way.
_DEPTH = 3
#: Consecutive deaths after which a device is given up: before a worker is ready, and with blocks
#: in flight, where two neighbouring blocks that kill account for three deaths.
_STARTS, _DEATHS = 3, 5
#: Seconds between two looks for a block while none is available.
_PAUSE = 0.05
#: Seconds that blocks in flight may take to finish when a run is stopped.
_GRACE = 8.0


@dataclass(frozen=True)
class Events:
    """Callbacks of a running pool; the threads of the workers call them.

    Attributes:
        done: a block has its result.
        failed: a block has killed its workers; the second argument is the reason.
        ready: a worker has loaded its networks.
        notify: takes a line for the user.
        watch: called repeatedly by the waiting thread; raises `RunError` if results can no longer
            be stored.
    """

    done: Callable[[Block, Result], None]
    failed: Callable[[Block, str], None]
    ready: Callable[[Ready], None]
    notify: Callable[[str], None]
    watch: Callable[[], None] = lambda: None


class WorkerPool:
    """All workers of a run, or of several runs one after the other.

    Args:
        endpoints: the devices; a worker is started on each at once.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.slots = [Slot(endpoint, endpoint.connect()) for endpoint in endpoints]
        self._stopped = threading.Event()
        self._has_run = False

    @property
    def work(self) -> Work:
        """What all workers have done so far in the current run."""
        return Work.sum(work for slot in self.slots for work in slot.work)

    def hello(self, notify: Callable[[str], None] = lambda _: None) -> Hello:
        """Wait for the first message of all workers and return what they agree on.

        Args:
            notify: takes a line for the user, for example when a worker is slow to start.

        Returns:
            the message of the first worker, with the smallest budgets of all.

        Raises:
            SettingsError: the devices differ in kind, so that their results would differ.
            RunError: a worker dies repeatedly.
        """
        found = {slot.name: self._greet(slot, notify) for slot in self.slots}
        first = next(iter(found.values()))
        for name, hello in found.items():
            if (hello.kind, hello.precision) != (first.kind, first.precision):
                raise SettingsError(
                    f"--device {','.join(found)}: {name} is a {hello.kind} in {hello.precision}, "
                    f"{next(iter(found))} a {first.kind} in {first.precision}; their results would "
                    "differ, choose devices of one kind"
                )
        budgets = [hello.budgets for hello in found.values()]
        smallest = Budgets(min(b.protein for b in budgets), min(b.dna for b in budgets))
        return first._replace(budgets=smallest)

    def _greet(self, slot: Slot, notify: Callable[[str], None]) -> Hello:
        """Wait for a worker's first message; replace a worker that dies before it."""
        with announced(notify, lambda: slot.connection.awaited):
            for _ in range(_STARTS - 1):
                with suppress(WorkerDiedError):
                    return slot.connection.hello()
                if self._stopped.is_set():
                    break
                slot.connection.stop()
                slot.replace()
            try:
                return slot.connection.hello()
            except WorkerDiedError as error:
                raise RunError(
                    f"the worker on {slot.name} could not be started: {error}; "
                    "try another --device, or give it more memory"
                ) from error

    def run(self, blocks: Iterator[Block | None], budgets: Budgets, events: Events) -> None:
        """Compute every block.

        Call it again for another run, whose workers then have their networks loaded; do not call
        it again after it has raised.

        Args:
            blocks: the blocks to compute; None if no block is available yet.
            budgets: token budgets of the run.
            events: callbacks.

        Raises:
            VirnucproError: the error of a worker, once the blocks in flight are done; or the error
                of `events.watch`.
        """
        for slot in self.slots if self._has_run else []:
            slot.begin_run()
        self._has_run = True
        slots = [slot for slot in self.slots if not slot.is_given_up]
        round_ = _Round(BlockQueue(blocks), budgets, events, len(slots), self._stopped)
        threads = [
            threading.Thread(target=round_.serve, args=(slot,), daemon=True) for slot in slots
        ]
        grace = _GRACE
        try:
            for thread in threads:
                thread.start()
            while round_.error is None and (alive := [t for t in threads if t.is_alive()]):
                alive[0].join(_PAUSE)  # a signal interrupts this wait
                events.watch()
        except RunError:
            grace = 0.0
            raise
        finally:
            round_.queue.stop()
            deadline = time.monotonic() + grace
            while any(slot.in_flight for slot in self.slots) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        if round_.error is not None:
            raise round_.error

    def stop(self) -> None:
        """Stop all workers at the same time, as each may take a second; a current run ends."""
        self._stopped.set()
        if not threading.main_thread().is_alive():  # the interpreter starts no more threads
            for slot in self.slots:
                slot.connection.stop()
            return
        threads = []
        for slot in self.slots:
            thread = threading.Thread(target=slot.connection.stop)
            try:
                thread.start()
                threads.append(thread)
            except RuntimeError:  # the limit on threads is reached
                slot.connection.stop()
        for thread in threads:
            thread.join()


class _Round:
    """The state of one run that the threads of all slots share."""

    def __init__(
        self,
        queue: BlockQueue,
        budgets: Budgets,
        events: Events,
        slots: int,
        stopped: threading.Event,
    ) -> None:
        self.queue, self._budgets, self._events = queue, budgets, events
        self._slots, self._stopped = slots, stopped
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def serve(self, slot: Slot) -> None:
        """Keep the worker of one slot busy until no block is left; runs in a thread."""
        try:
            self._serve(slot)
        except BaseException as error:  # noqa: BLE001 (raised again by `WorkerPool.run`)
            if not self._is_abandoned:
                self._fail(error)
        if self._is_abandoned:
            self._fail(RunError("the run was stopped; repeat the same call to resume it"))
        slot.in_flight.clear()

    @property
    def _is_abandoned(self) -> bool:
        """Whether nobody waits for results: the pool is stopped, or the interpreter exits."""
        return self._stopped.is_set() or not threading.main_thread().is_alive()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error
        self.queue.stop()

    def _serve(self, slot: Slot) -> None:
        in_flight = slot.in_flight
        is_ready, deaths = False, 0
        while (in_flight or not self.queue.is_over) and not self._is_abandoned:
            try:
                if not is_ready:
                    with announced(self._events.notify, lambda: slot.connection.awaited):
                        ready = slot.start(self._budgets)
                    self._events.ready(ready)
                    is_ready = True
                self._fill(slot)
                if not in_flight:
                    time.sleep(_PAUSE)
                    continue
                result = slot.connection.receive()
            except WorkerDiedError as death:
                if self._is_abandoned or (self.queue.is_over and not in_flight):
                    return
                deaths += 1
                most = _DEATHS if in_flight else _STARTS
                self._handle_death(slot, str(death))
                if deaths >= most:
                    self._give_up(slot, str(death))
                    return
                is_ready = False
                continue
            deaths = 0
            slot.record(result.work)
            self._events.done(in_flight[result.block], result)
            del in_flight[result.block]
            self.queue.finish()

    def _fill(self, slot: Slot) -> None:
        """Send blocks until the worker has enough; a suspect block stays alone."""
        in_flight = slot.in_flight
        while len(in_flight) < _DEPTH:
            if any(map(self.queue.is_suspect, in_flight.values())):
                return
            try:
                block = self.queue.take(has_others=bool(in_flight))
            except Exception as error:  # noqa: BLE001 (raised again once blocks in flight are done)
                self._fail(error)
                return
            if block is None:
                return
            in_flight[block.index] = block
            slot.connection.send(block)

    def _handle_death(self, slot: Slot, reason: str) -> None:
        """Requeue the blocks of a worker that died; mark those as failed that killed two."""
        slot.is_dead = True
        slot.connection.stop()
        blocks = list(slot.in_flight.values())
        self._events.notify(
            f"the worker on {slot.name} died ({reason}); {len(blocks)} blocks are computed again"
        )
        for block in self.queue.requeue(blocks):
            self._events.failed(block, reason)
        slot.in_flight.clear()

    def _give_up(self, slot: Slot, reason: str) -> None:
        """Continue without a device; fail the run if it was the last one."""
        slot.is_given_up = True
        with self._lock:
            self._slots -= 1
            is_last = not self._slots
        if is_last:
            self._fail(
                RunError(
                    f"workers on {slot.name} die again and again ({reason}); "
                    "fix this, then rerun to resume"
                )
            )
        else:
            self._events.notify(f"{slot.name} is given up: its workers die again and again")
