"""Executes jobs: from the settings of a run to its summary, for every command and executor."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic

from virnucpro.errors import InputError, RunError
from virnucpro.files import write_json
from virnucpro.runs.binding import bind, may_be_others
from virnucpro.runs.block_loop import BlockLoop, check_records
from virnucpro.runs.claims import TABLES, Claims
from virnucpro.runs.devices import device_names
from virnucpro.runs.executors import launched, local
from virnucpro.runs.executors.connection import Hello, Ready
from virnucpro.runs.executors.slots import Endpoint
from virnucpro.runs.executors.worker_pool import Events, WorkerPool
from virnucpro.runs.job import (
    Executor,
    Job,
    Observer,
    OneAtATime,
    Plan,
    Silence,
    SummaryT,
    check_executor,
)
from virnucpro.runs.monitor import DeviceUse, Monitor, use_of
from virnucpro.runs.run import Run, open_run, read_json
from virnucpro.runs.shard_store import ShardStore
from virnucpro.runs.task import Result, Task
from virnucpro.runs.waiting import Wait, announced
from virnucpro.sequences.blocks import Block, input_bytes
from virnucpro.system.forking import check_fork

#: Seconds between two checks whether another process has written the tables.
_PAUSE = 0.2


def execute(
    job: Job[SummaryT], device: str, executor: Executor, observer: Observer | None
) -> SummaryT:
    """Do a job, or resume it.

    Args:
        job: the job.
        device: the devices that the user asked for.
        executor: what hands blocks to devices.
        observer: receives the progress of the run, from one thread at a time.
    """
    (found,) = execute_all([job], device, executor, observer)
    if isinstance(found, InputError):  # returned, not raised, for one of several jobs
        raise found
    return found


def execute_all(
    jobs: Sequence[Job[SummaryT]], device: str, executor: Executor, observer: Observer | None
) -> list[SummaryT | InputError]:
    """Do jobs one after the other with the same workers, which load their networks once.

    Each job is a separate run. If the inputs of one of several jobs cannot be read, the others
    continue, and the error takes the place of its summary.

    Args:
        jobs: at least one job; they differ only in inputs and outputs.
        device: the devices that the user asked for.
        executor: what hands blocks to devices.
        observer: receives the progress of the runs, from one thread at a time.
    """
    started = time.perf_counter()
    is_shared = executor == "launched"
    summaries: dict[int, SummaryT | InputError] = {}
    serial = OneAtATime(observer or Silence())
    with started_pool(jobs[0].task, device, executor, serial.noted) as pool:
        with announced(serial.noted, lambda: "the digests of the weights"):
            jobs[0].check()  # while the workers start
        session = Session(pool, pool.hello(serial.noted), serial, is_shared)
        for index in launched.order(len(jobs)) if is_shared else range(len(jobs)):
            try:
                summaries[index] = session.execute(jobs[index], started)
            except InputError as error:
                if jobs[index].sample is None:
                    raise
                serial.noted(jobs[index].named(f"{error}; continuing with the other samples"))
                summaries[index] = error
            started = time.perf_counter()
        session.report_finished(len(jobs))
    return [summaries[index] for index in range(len(jobs))]


@dataclass(frozen=True)
class Session:
    """The state that all runs of a command share.

    Attributes:
        pool: the workers.
        hello: the devices that the workers reported.
        observer: receives the progress of the runs.
        is_shared: whether other processes work on the same runs.
        reported: notes about the networks that the user has already seen.
        finished: names of the samples whose runs were already finished.
    """

    pool: WorkerPool
    hello: Hello
    observer: Observer
    is_shared: bool
    reported: set[str] = field(default_factory=set)
    finished: list[str] = field(default_factory=list)

    def execute(self, job: Job[SummaryT], started: float) -> SummaryT:
        """Do a job, or resume it; `started` is the time at which it began."""
        hello, outputs = self.hello, job.product.outputs
        binding = bind(
            job.command, job.inputs, job.settings,
            bundle=job.weights, bundle_sha256=job.weights_sha256,
            precision=hello.precision, device=hello.kind,
        )  # fmt: skip
        with open_run(outputs.directory, binding, hello.budgets, is_shared=self.is_shared) as run:
            plan = self._plan(job)
            self.observer.planned(plan)
            if run.is_finished and outputs.are_complete():
                before = run.manifest.binding.inputs
                if may_be_others(before, binding.inputs, run.manifest.started):
                    check_records(job.inputs, job.task, run)
                self.observer.already_finished()
                self.finished.extend([job.sample.name] if job.sample else [])
                job.show()
                return _finished(run, job)
            try:
                return Execution(run, job, plan, self, started).go()
            except InputError as error:
                run.keep_problem(str(error))
                raise

    def report_finished(self, samples: int) -> None:
        """Tell the user how many samples were already finished."""
        if len(self.finished) == samples:
            self.observer.noted(f"all {samples:,} samples are already finished")
        elif self.finished:
            self.observer.noted(
                f"{len(self.finished):,} of {samples:,} samples were already finished"
            )

    def _plan(self, job: Job[SummaryT]) -> Plan:
        names = [slot.name for slot in self.pool.slots]
        size = input_bytes(job.inputs)
        notes = [*job.notes, *map(job.named, job.input_notes), *self.hello.notes]
        return Plan(
            job.command, job.product.outputs, job.weights, job.how, names, self.hello.kind,
            self.hello.precision, size, notes, job.sample,
        )  # fmt: skip


@contextmanager
def started_pool(
    task: Task, device: str, executor: Executor, notify: Callable[[str], None] = lambda _: None
) -> Iterator[WorkerPool]:
    """Start workers and stop them at the end; `notify` takes lines for the user."""
    check_fork()
    pool = WorkerPool(_endpoints(executor, device, task, notify))
    try:
        yield pool
    finally:
        pool.stop()


def _endpoints(
    executor: Executor, device: str, task: Task, notify: Callable[[str], None]
) -> list[Endpoint]:
    """Return the devices to start workers on."""
    check_executor(executor)
    if executor == "ray":
        from virnucpro.runs.executors import ray_cluster  # noqa: PLC0415 (an extra)

        return ray_cluster.endpoints(device, task, notify)
    names = device_names(device)
    if executor == "launched":
        return launched.endpoints(names, task)
    return local.endpoints(names, task)


class Execution(Generic[SummaryT]):
    """Everything between an open run and its summary."""

    def __init__(
        self, run: Run, job: Job[SummaryT], plan: Plan, session: Session, started: float
    ) -> None:
        self._run, self._job, self._started = run, job, started
        self._pool, self._observer = session.pool, session.observer
        self._reported = session.reported
        self._is_shared = session.is_shared
        self._lock = threading.Lock()
        self._ready_since: float | None = None
        self._store = ShardStore(run.shards)
        self._monitor = Monitor(plan.devices)
        self._loop = BlockLoop(
            job.inputs,
            job.task,
            self._store,
            self._pool,
            self._monitor,
            self._observer.advanced,
            self._observer.noted,
        )

    def go(self) -> SummaryT:
        """Compute all blocks and write the outputs; other processes may do some of the blocks."""
        if self._is_shared and self._is_finished():
            return _finished(self._run, self._job)
        claims = Claims(self._run.shards) if self._is_shared else None
        try:
            self._compute(claims)
            computed = time.perf_counter()
            if claims is not None and not self._may_merge(claims):
                return _finished(self._run, self._job)
            return self._merge(computed)
        finally:
            if claims is not None:
                claims.close()

    def _compute(self, claims: Claims | None) -> None:
        loop = self._loop

        def done(block: Block, result: Result) -> None:
            loop.done(block, result)
            if claims is not None:
                claims.release(block.index)

        watch = self._run.watch.check
        events = Events(done, loop.mark_failed, self._ready, self._observer.noted, watch)
        blocks = loop.blocks() if claims is None else loop.claimed_blocks(claims)
        if self._job.sample is not None:  # the workers continue with the next sample
            blocks = loop.until_damage(blocks)
        self._monitor.start()
        try:
            self._pool.run(blocks, self._run.manifest.budgets, events)
        finally:
            self._monitor.stop()
        if loop.damage is not None:
            raise loop.damage
        for note in self._pool.work.incidents():
            self._note(note)
        if skipped := loop.progress.skipped:
            self._note(f"{skipped:,} secondary and supplementary alignments were skipped")

    def _note(self, note: str) -> None:
        """Tell the user something about this run."""
        self._observer.noted(self._job.named(note))

    def _ready(self, ready: Ready) -> None:
        """Check that all workers compute with the same backends."""
        with self._lock:
            try:
                self._run.keep_backends(ready.backends)
            except FileNotFoundError:  # another process has finished the run and deleted its shards
                if not self._is_finished():
                    raise
            self._ready_since = self._ready_since or time.perf_counter()
            notes = [note for note in ready.notes if note not in self._reported]
            self._reported.update(notes)
        for note in notes:
            self._observer.noted(note)

    def _may_merge(self, claims: Claims) -> bool:
        """Whether this process writes the outputs; if not, wait until another has written them."""
        tables = f"the tables of {self._run.directory}, which another process writes"
        wait = Wait(tables, self._observer.noted)
        while not claims.take(TABLES):
            time.sleep(_PAUSE)
            wait.look()
            is_there = self._store.is_there
            if self._is_finished():
                return False
            if not is_there:
                raise RunError(f"{self._store.directory}: no longer exists; run the command again")
        return not self._is_finished()

    def _is_finished(self) -> bool:
        """Whether another process has finished the run."""
        self._run.refresh()
        return self._run.is_finished

    def _uses(self, seconds: float) -> list[DeviceUse]:
        """Return what each device did in `seconds` of computing."""
        return [
            use_of(
                slot.name,
                slot.frames,
                slot.died,
                max(seconds, 1e-9),
                self._monitor.readings.get(slot.name, []),
            )
            for slot in self._pool.slots
        ]

    def _merge(self, computed: float) -> SummaryT:
        ready = self._ready_since or computed
        loop, product = self._loop, self._job.product
        self._observer.merging()
        found = product.merge(self._store, len(loop.digests))
        seconds = {
            "start-up": ready - self._started,
            "scoring": computed - ready,
            "tables": time.perf_counter() - computed,
            **loop.progress.work.seconds,
        }
        summary = product.summary(found, loop.progress, seconds, self._run.manifest.binding)
        write_json(product.outputs.path("summary"), summary)
        product.conclude(self._run.manifest, summary)
        self._run.finish(sha256(b"".join(loop.digests)).hexdigest(), self._uses(computed - ready))
        self._store.remove()
        known = [*self._job.notes, *self._job.input_notes]
        for note in summary.notes:
            if note not in known:
                self._note(f"note: {note}")
        self._job.show()
        return summary


def _finished(run: Run, job: Job[SummaryT]) -> SummaryT:
    """Return the summary of a finished run; delete shards that a killed process may have left."""
    ShardStore(run.shards).remove()
    path = job.product.outputs.path("summary")
    return read_json(path, job.product.summary_type, "give a new directory")
