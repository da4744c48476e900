"""A run from its settings to its summary, whichever command and executor."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Generic, get_args

import msgspec

from virnucpro.engine.binding import bind
from virnucpro.engine.blocks import Block, input_bytes
from virnucpro.engine.claims import TABLES, Claims
from virnucpro.engine.devices import device_names
from virnucpro.engine.executors import launched, local
from virnucpro.engine.executors.crew import Crew, Events, Place
from virnucpro.engine.executors.links import Hello, Ready
from virnucpro.engine.monitor import DeviceUse, Monitor, use_of
from virnucpro.engine.run import Run, open_run
from virnucpro.engine.scoring import Scoring
from virnucpro.engine.store import ShardStore
from virnucpro.engine.task import Result, Task
from virnucpro.errors import RunError, SettingsError
from virnucpro.jobs import Executor, Job, Observer, Plan, Silence, SummaryT
from virnucpro.storage import write_whole

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
    started = time.perf_counter()
    observer = observer or Silence()
    outputs, is_shared = job.product.outputs, executor == "launched"
    with started_crew(job.task, device, executor) as crew:
        job.check()  # while the workers come up
        hello = crew.hello()
        binding = bind(
            job.command, job.inputs, job.settings,
            bundle=job.weights, bundle_sha256=job.weights_sha256,
            precision=hello.precision, device=hello.kind,
        )  # fmt: skip
        with open_run(outputs.directory, binding, hello.budgets, is_shared=is_shared) as run:
            plan = _plan(job, crew, hello)
            observer.planned(plan)
            if run.is_finished and outputs.are_complete():
                observer.already_finished()
                job.show()
                return _finished(run, job)
            return Execution(run, job, plan, crew, observer, started).go(is_shared=is_shared)


def _plan(job: Job[SummaryT], crew: Crew, hello: Hello) -> Plan:
    names = [member.name for member in crew.members]
    size = input_bytes(job.inputs)
    return Plan(
        job.command, job.product.outputs, job.weights, job.how, names, hello.kind,
        hello.precision, size, [*job.notes, *hello.notes],
    )  # fmt: skip


@contextmanager
def started_crew(task: Task, device: str, executor: Executor) -> Iterator[Crew]:
    """Start workers, and let go of them whatever happens."""
    crew = Crew(_places(executor, device, task))
    try:
        yield crew
    finally:
        crew.stop()


def _places(executor: Executor, device: str, task: Task) -> list[Place]:
    """Return where workers are wanted."""
    if executor not in get_args(Executor):
        raise SettingsError(f"--executor {executor}: give {', '.join(get_args(Executor))}")
    if executor == "ray":
        from virnucpro.engine.executors import ray_cluster  # noqa: PLC0415 (an extra)

        return ray_cluster.places(device, task)
    names = device_names(device)
    return launched.places(names, task) if executor == "launched" else local.places(names, task)


class Execution(Generic[SummaryT]):
    """Everything between an open run and its summary."""

    def __init__(
        self,
        run: Run,
        job: Job[SummaryT],
        plan: Plan,
        crew: Crew,
        observer: Observer,
        started: float,
    ) -> None:
        self._run, self._job, self._crew = run, job, crew
        self._observer, self._started = observer, started
        self._telling = threading.Lock()
        self._told: set[str] = set()
        self._ready_since: float | None = None
        self._store = ShardStore(run.shards)
        self._monitor = Monitor(plan.devices)
        self._scoring = Scoring(
            job.inputs,
            job.task,
            self._store,
            crew,
            self._monitor,
            observer.advanced,
        )

    def go(self, *, is_shared: bool) -> SummaryT:
        """Score all blocks and write the tables; other processes may take their part."""
        if is_shared and self._is_finished():
            return _finished(self._run, self._job)
        claims = Claims(self._run.shards) if is_shared else None
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

        events = Events(done, scoring.put_aside, self._ready, self._say)
        blocks = scoring.blocks() if claims is None else scoring.claimed_blocks(claims)
        self._monitor.start()
        try:
            self._crew.run(blocks, self._run.manifest.budgets, events)
        finally:
            self._monitor.stop()
        for note in self._crew.work.incidents():
            self._say(note)

    def _ready(self, ready: Ready) -> None:
        """Hold all workers to one way to compute."""
        with self._telling:
            self._run.keep_ways(ready.ways)
            self._ready_since = self._ready_since or time.perf_counter()
        for note in ready.notes:
            if note not in self._told:
                self._told.add(note)
                self._say(note)

    def _say(self, line: str) -> None:
        with self._telling:
            self._observer.noted(line)

    def _may_merge(self, claims: Claims) -> bool:
        """Whether the tables are this process's to write; if not, wait until another has."""
        while not claims.take(TABLES):
            time.sleep(_PAUSE)
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
        self._run.finish(sha256(b"".join(scoring.digests)).hexdigest(), self._uses(scored - ready))
        self._store.remove()
        self._job.show()
        return summary


def _finished(run: Run, job: Job[SummaryT]) -> SummaryT:
    """Return the summary of a finished run, and remove what a kill may have left of its shards."""
    ShardStore(run.shards).remove()
    content = job.product.outputs.path("summary").read_bytes()
    return msgspec.json.decode(content, type=job.product.summary_type)
