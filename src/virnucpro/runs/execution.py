"""A run from its settings to its summary, whichever command and executor."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic

from virnucpro.errors import InputError, RunError
from virnucpro.files import write_whole
from virnucpro.runs.binding import bind, may_be_others
from virnucpro.runs.block_loop import Scoring, check_records
from virnucpro.runs.claims import TABLES, Claims
from virnucpro.runs.devices import device_names
from virnucpro.runs.executors import launched, local
from virnucpro.runs.executors.connection import Hello, Ready
from virnucpro.runs.executors.slots import Place
from virnucpro.runs.executors.worker_pool import Crew, Events
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

#: Seconds between looks whether another process has written the tables.
_PAUSE = 0.2


def execute(
    job: Job[SummaryT], device: str, executor: Executor, observer: Observer | None
) -> SummaryT:
    """Do a job, or continue it.

    Args:
        job: what to do.
        device: as the user gave it.
        executor: who hands blocks to devices.
        observer: is told how the run goes, never by two threads at once.
    """
    (found,) = execute_all([job], device, executor, observer)
    if isinstance(found, InputError):  # as that of one job of several would be
        raise found
    return found


def execute_all(
    jobs: Sequence[Job[SummaryT]], device: str, executor: Executor, observer: Observer | None
) -> list[SummaryT | InputError]:
    """Do jobs one after the other with the same workers, who load their networks once.

    Each is a run of its own, as if it were the only one. One of several whose inputs cannot be
    read does not stop the others: what is wrong is returned in place of its summary.

    Args:
        jobs: what to do, at least one; they differ in inputs and outputs alone.
        device: as the user gave it.
        executor: who hands blocks to devices.
        observer: is told how the runs go, never by two threads at once.
    """
    started = time.perf_counter()
    is_shared = executor == "launched"
    summaries: dict[int, SummaryT | InputError] = {}
    told = OneAtATime(observer or Silence())
    with started_crew(jobs[0].task, device, executor, told.noted) as crew:
        with announced(told.noted, lambda: "the digests of the weights"):
            jobs[0].check()  # while the workers come up
        session = Session(crew, crew.hello(told.noted), told, is_shared)
        for index in launched.order(len(jobs)) if is_shared else range(len(jobs)):
            try:
                summaries[index] = session.execute(jobs[index], started)
            except InputError as error:
                if jobs[index].turn is None:
                    raise
                told.noted(jobs[index].named(f"{error}; the other samples go on"))
                summaries[index] = error
            started = time.perf_counter()
        session.tell_finished(len(jobs))
    return [summaries[index] for index in range(len(jobs))]


@dataclass(frozen=True)
class Session:
    """What the runs of a command share.

    Attributes:
        crew: the workers.
        hello: what they said of their devices.
        observer: is told how the runs go.
        is_shared: whether other processes do the same runs.
        told: what was noted of the networks already.
        finished: names of the samples whose runs were finished already.
    """

    crew: Crew
    hello: Hello
    observer: Observer
    is_shared: bool
    told: set[str] = field(default_factory=set)
    finished: list[str] = field(default_factory=list)

    def execute(self, job: Job[SummaryT], started: float) -> SummaryT:
        """Do a job, or continue it; it was `started` then."""
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
                self.finished.extend([job.turn.name] if job.turn else [])
                job.show()
                return _finished(run, job)
            try:
                return Execution(run, job, plan, self, started).go()
            except InputError as error:
                run.keep_problem(str(error))
                raise

    def tell_finished(self, samples: int) -> None:
        """Say how many of the samples there was nothing left to do for."""
        if len(self.finished) == samples:
            self.observer.noted(f"all {samples:,} samples are finished already, nothing is left")
        elif self.finished:
            self.observer.noted(f"{len(self.finished):,} of {samples:,} samples were finished")

    def _plan(self, job: Job[SummaryT]) -> Plan:
        names = [member.name for member in self.crew.members]
        size = input_bytes(job.inputs)
        notes = [*job.notes, *map(job.named, job.input_notes), *self.hello.notes]
        return Plan(
            job.command, job.product.outputs, job.weights, job.how, names, self.hello.kind,
            self.hello.precision, size, notes, job.turn,
        )  # fmt: skip


@contextmanager
def started_crew(
    task: Task, device: str, executor: Executor, noted: Callable[[str], None] = lambda _: None
) -> Iterator[Crew]:
    """Start workers, and let go of them whatever happens; `noted` takes lines for the user."""
    check_fork()
    crew = Crew(_places(executor, device, task, noted))
    try:
        yield crew
    finally:
        crew.stop()


def _places(
    executor: Executor, device: str, task: Task, noted: Callable[[str], None]
) -> list[Place]:
    """Return where workers are wanted."""
    check_executor(executor)
    if executor == "ray":
        from virnucpro.runs.executors import ray_cluster  # noqa: PLC0415 (an extra)

        return ray_cluster.places(device, task, noted)
    names = device_names(device)
    return launched.places(names, task) if executor == "launched" else local.places(names, task)


class Execution(Generic[SummaryT]):
    """Everything between an open run and its summary."""

    def __init__(
        self, run: Run, job: Job[SummaryT], plan: Plan, session: Session, started: float
    ) -> None:
        self._run, self._job, self._started = run, job, started
        self._crew, self._observer, self._told = session.crew, session.observer, session.told
        self._is_shared = session.is_shared
        self._keeping = threading.Lock()
        self._ready_since: float | None = None
        self._store = ShardStore(run.shards)
        self._monitor = Monitor(plan.devices)
        self._scoring = Scoring(
            job.inputs,
            job.task,
            self._store,
            self._crew,
            self._monitor,
            self._observer.advanced,
            self._observer.noted,
        )

    def go(self) -> SummaryT:
        """Score all blocks and write the tables; other processes may take their part."""
        if self._is_shared and self._is_finished():
            return _finished(self._run, self._job)
        claims = Claims(self._run.shards) if self._is_shared else None
        try:
            self._score(claims)
            scored = time.perf_counter()
            if claims is not None and not self._may_merge(claims):
                return _finished(self._run, self._job)
            return self._merge(scored)
        finally:
            if claims is not None:
                claims.close()

    def _score(self, claims: Claims | None) -> None:
        scoring = self._scoring

        def done(block: Block, result: Result) -> None:
            scoring.done(block, result)
            if claims is not None:
                claims.release(block.index)

        watch = self._run.watch.check
        events = Events(done, scoring.put_aside, self._ready, self._observer.noted, watch)
        blocks = scoring.blocks() if claims is None else scoring.claimed_blocks(claims)
        if self._job.turn is not None:  # the workers go on to the next sample
            blocks = scoring.until_damage(blocks)
        self._monitor.start()
        try:
            self._crew.run(blocks, self._run.manifest.budgets, events)
        finally:
            self._monitor.stop()
        if scoring.damage is not None:
            raise scoring.damage
        for note in self._crew.work.incidents():
            self._note(note)
        if skipped := scoring.progress.skipped:
            self._note(f"{skipped:,} secondary and supplementary alignments were skipped")

    def _note(self, note: str) -> None:
        """Say what is to be known of this run."""
        self._observer.noted(self._job.named(note))

    def _ready(self, ready: Ready) -> None:
        """Hold all workers to one way to compute."""
        with self._keeping:
            self._run.keep_ways(ready.ways)
            self._ready_since = self._ready_since or time.perf_counter()
            notes = [note for note in ready.notes if note not in self._told]
            self._told.update(notes)
        for note in notes:
            self._observer.noted(note)

    def _may_merge(self, claims: Claims) -> bool:
        """Whether the tables are this process's to write; if not, wait until another has."""
        tables = f"the tables of {self._run.directory}, which another process writes"
        wait = Wait(tables, self._observer.noted)
        while not claims.take(TABLES):
            time.sleep(_PAUSE)
            wait.look()
            is_there = self._store.is_there
            if self._is_finished():
                return False
            if not is_there:
                raise RunError(f"{self._store.directory}: is gone; run again")
        return not self._is_finished()

    def _is_finished(self) -> bool:
        """Whether another process has finished the run."""
        self._run.refresh()
        return self._run.is_finished

    def _uses(self, seconds: float) -> list[DeviceUse]:
        """Return what each device did in `seconds` of scoring."""
        return [
            use_of(
                member.name,
                member.frames,
                member.died,
                max(seconds, 1e-9),
                self._monitor.readings.get(member.name, []),
            )
            for member in self._crew.members
        ]

    def _merge(self, scored: float) -> SummaryT:
        ready = self._ready_since or scored
        scoring, product = self._scoring, self._job.product
        self._observer.merging()
        found = product.merge(self._store, len(scoring.digests))
        seconds = {
            "start-up": ready - self._started,
            "scoring": scored - ready,
            "tables": time.perf_counter() - scored,
            **scoring.progress.work.seconds,
        }
        summary = product.summary(found, scoring.progress, seconds, self._run.manifest.binding)
        write_whole(product.outputs.path("summary"), summary.to_json())
        product.conclude(self._run.manifest, summary)
        self._run.finish(sha256(b"".join(scoring.digests)).hexdigest(), self._uses(scored - ready))
        self._store.remove()
        said = [*self._job.notes, *self._job.input_notes]
        for note in summary.notes:
            if note not in said:
                self._note(f"note: {note}")
        self._job.show()
        return summary


def _finished(run: Run, job: Job[SummaryT]) -> SummaryT:
    """Return the summary of a finished run, and remove what a kill may have left of its shards."""
    ShardStore(run.shards).remove()
    path = job.product.outputs.path("summary")
    return read_json(path, job.product.summary_type, "give a new directory")
