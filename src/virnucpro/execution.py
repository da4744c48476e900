"""A run from its first block to its tables, whichever executor computes it."""

import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import msgspec

from virnucpro.bundles import Bundle
from virnucpro.engine.blocks import Block
from virnucpro.engine.claims import TABLES, Claims
from virnucpro.engine.executors.crew import Crew, Events
from virnucpro.engine.executors.links import Ready
from virnucpro.engine.monitor import DeviceUse, Monitor, use_of
from virnucpro.engine.pipeline import Result, Task
from virnucpro.engine.run import Run
from virnucpro.engine.scoring import Progress, Scoring
from virnucpro.engine.shards import ShardStore
from virnucpro.errors import RunError
from virnucpro.results.merge import merge_shards
from virnucpro.results.paths import Outputs
from virnucpro.results.summary import Summary
from virnucpro.storage import write_whole

#: Seconds between looks whether another process has written the tables.
_PAUSE = 0.2


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    Attributes:
        inputs: files in the order they are read.
        outputs: every file that will be written.
        bundle: the bundle.
        devices: name of each device.
        kind: what sort of device they are.
        precision: the encoders' arithmetic.
        chunk_length: bases of a chunk.
        input_bytes: size of the input, 0 when unknown.
        notes: what the user should know before it starts.
    """

    inputs: list[str]
    outputs: Outputs
    bundle: Bundle
    devices: list[str]
    kind: str
    precision: str
    chunk_length: int
    input_bytes: int
    notes: list[str]


class Observer(Protocol):
    """Is told how a run goes."""

    def planned(self, plan: Plan) -> None:
        """Take note of what is about to be done."""

    def advanced(self, progress: Progress) -> None:
        """Take note of a block done."""

    def noted(self, line: str) -> None:
        """Take note of how the device is used, or of what went differently on it."""

    def merging(self) -> None:
        """Take note that all blocks are done and the tables are being written."""

    def already_finished(self) -> None:
        """Take note that an earlier attempt has done all of it."""


class Silence:
    """An observer that keeps quiet."""

    def planned(self, plan: Plan) -> None:
        """Do nothing."""

    def advanced(self, progress: Progress) -> None:
        """Do nothing."""

    def noted(self, line: str) -> None:
        """Do nothing."""

    def merging(self) -> None:
        """Do nothing."""

    def already_finished(self) -> None:
        """Do nothing."""


class Execution:
    """Everything between an open run and its summary."""

    def __init__(
        self, run: Run, plan: Plan, task: Task, crew: Crew, observer: Observer, started: float
    ) -> None:
        self._run, self._plan, self._task, self._crew = run, plan, task, crew
        self._observer, self._started = observer, started
        self._telling = threading.Lock()
        self._told: set[str] = set()
        self._ready_since: float | None = None
        self._store = ShardStore(run.shards)
        self._monitor = Monitor(plan.devices)
        self._scoring = Scoring(
            plan.inputs,
            run.manifest.binding.block_chunks,
            task,
            self._store,
            crew,
            self._monitor,
            observer.advanced,
        )

    def go(self, *, is_shared: bool) -> Summary:
        """Score all blocks and write the tables; other processes may take their part."""
        if is_shared and self._is_finished():
            return finished(self._run, self._plan)
        claims = Claims(self._run.shards) if is_shared else None
        try:
            self._score(claims)
            scored = time.perf_counter()
            if claims is not None and not self._may_merge(claims):
                return finished(self._run, self._plan)
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

    def _merge(self, scored: float) -> Summary:
        ready = self._ready_since or scored
        scoring, work, plan = self._scoring, self._scoring.progress.work, self._plan
        self._observer.merging()
        counts = merge_shards(self._store, len(scoring.digests), plan.outputs, self._task.threshold)
        seconds = {
            "start-up": ready - self._started,
            "scoring": scored - ready,
            "tables": time.perf_counter() - scored,
            **work.seconds,
        }
        binding = self._run.manifest.binding
        summary = Summary.of(
            counts, scoring.progress, seconds,
            bundle=binding.bundle, device=binding.device, precision=binding.precision,
        )  # fmt: skip
        write_whole(plan.outputs.path("summary"), summary.to_json())
        self._run.finish(sha256(b"".join(scoring.digests)).hexdigest(), self._uses(scored - ready))
        self._store.remove()
        return summary


def finished(run: Run, plan: Plan) -> Summary:
    """Return the summary of a finished run, and what a kill may have left of its shards."""
    ShardStore(run.shards).remove()
    return msgspec.json.decode(plan.outputs.path("summary").read_bytes(), type=Summary)
