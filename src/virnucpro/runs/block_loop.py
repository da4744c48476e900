"""The blocks of a run: which are done, whose turn is next, and how far the run is."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from virnucpro.errors import InputError, RunError
from virnucpro.runs.claims import Claims
from virnucpro.runs.executors.worker_pool import Crew
from virnucpro.runs.monitor import Monitor, Reading
from virnucpro.runs.run import Run
from virnucpro.runs.shard_store import ShardStore
from virnucpro.runs.task import Result, Task
from virnucpro.runs.waiting import Wait, announced
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.fragments import Source


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        records: records done, those of earlier attempts included.
        resumed_records: of these, done by earlier attempts, or by other processes of this one.
        bytes_done: bytes of the input in the blocks done.
        resumed_bytes: of these, in blocks that were done by others.
        work: what this process and its workers have done.
        readings: of the GPUs of this machine, the last ones.
        skipped: lines of BAM passed over, being further alignments of a read.
    """

    records: int = 0
    resumed_records: int = 0
    bytes_done: int = 0
    resumed_bytes: int = 0
    work: Work = field(default_factory=Work)
    readings: dict[str, Reading] = field(default_factory=dict)
    skipped: int = 0


class Scoring:
    """Cuts the input into blocks, skips those that have a shard, writes the others' shards.

    Args:
        inputs: files in the order they are read.
        task: of the run.
        store: where the shards go.
        crew: of whose work progress tells.
        monitor: of whose readings progress tells.
        on_progress: called after every block, from any thread, never from two at once.
        noted: takes a line for the user, from any thread.

    Attributes:
        digests: of each block's records, in order; complete once all blocks were read.
        progress: how far the run is.
        damage: why `until_damage` ended early; None where it did not.
    """

    def __init__(
        self,
        inputs: list[Source],
        task: Task,
        store: ShardStore,
        crew: Crew,
        monitor: Monitor,
        on_progress: Callable[[Progress], None],
        noted: Callable[[str], None],
    ) -> None:
        self._inputs, self._task, self._store = inputs, task, store
        self._crew, self._monitor, self._on_progress = crew, monitor, on_progress
        self._noted = noted
        self._telling = threading.Lock()
        self._sizes: dict[int, tuple[int, int]] = {}
        self._host = Work()
        self._skipped = 0
        self.digests: list[bytes] = []
        self.progress = Progress()
        self.damage: InputError | None = None

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks that have no shard.

        Raises:
            RunError: when a shard is of other records.
        """
        return (block for block in self._read() if not self._is_done(block.index))

    def claimed_blocks(self, claims: Claims) -> Iterator[Block | None]:
        """Yield the blocks that this process may claim; None while others are at work on the rest.

        What others leave undone is claimed once their claims are stale. When the shards are gone,
        another process has finished the run.
        """
        missing = set()
        for block in self.blocks():
            if not claims.take(block.index):
                missing.add(block.index)
            elif self._is_done(block.index):  # between the two looks
                claims.release(block.index)
            else:
                yield block
        yield from self._left_by_others(missing, claims)

    def _left_by_others(self, missing: set[int], claims: Claims) -> Iterator[Block | None]:
        """Yield blocks that others had claimed and have left undone; None while they compute."""
        blocks = f"the blocks of {self._store.directory} that other processes have claimed"
        wait = Wait(blocks, self._noted)
        while missing and self._store.is_there:
            yield None
            wait.look()
            before = len(missing)
            missing = {index for index in missing if not self._is_done(index)}
            if len(missing) < before:
                wait.begin()
            claimed = {index for index in missing if claims.take(index)}
            if claimed:  # their records must be read again
                missing -= claimed
                again = self._task.cut(self._inputs)
                yield from (block for block in again if block.index in claimed)

    def until_damage(self, blocks: Iterator[Block | None]) -> Iterator[Block | None]:
        """Yield blocks as far as the input can be read; `damage` says why it cannot further on."""
        try:
            yield from blocks
        except InputError as error:
            self.damage = error

    def _read(self) -> Iterator[Block]:
        """Cut the input, and note of each block what must be known once its shard is there."""
        stream = self._task.cut(self._inputs)
        bytes_before = 0
        while True:
            started = time.perf_counter()
            with announced(self._noted, self._awaited_input):
                block = next(stream, None)
            if block is None:
                return
            self.digests.append(block.digest())
            self._host.add("reading", time.perf_counter() - started)
            self._skipped = block.skipped
            records = sum(piece.begins_record for piece in block.pieces)
            self._sizes[block.index] = block.bytes_read - bytes_before, records
            bytes_before = block.bytes_read
            yield block

    def _awaited_input(self) -> str:
        """Name the input as it is awaited, which may be a pipe that is silent."""
        names = [str(source) for source in self._inputs[:1]]
        return f"more records ({', '.join(names)}{', ...' if len(self._inputs) > 1 else ''})"

    def _is_done(self, index: int) -> bool:
        """Whether a block has its shard, which then counts as another's work."""
        found = self._store.read(index)
        if found is None:
            return False
        if found[0] != self.digests[index]:
            raise RunError(
                f"{self._store.directory}: the input has changed since this run was started "
                f"(in block {index + 1}); give a new directory"
            )
        self._advance(index, is_resumed=True)
        return True

    def done(self, block: Block, result: Result) -> None:
        """Write the shard of a block that a worker computed."""
        started = time.perf_counter()
        self._write(block, result.shard)
        with self._telling:
            self._host.add("writing", time.perf_counter() - started)
        self._advance(block.index, is_resumed=False)

    def put_aside(self, block: Block, reason: str) -> None:
        """Give a block that kills its workers a shard that says so of each of its records."""
        first, last = (block.pieces[i].record + 1 for i in (0, -1))
        problem = f"records {first} to {last} are of a block that two workers died on ({reason})"
        self._write(block, self._task.unscored(block, problem))
        self._advance(block.index, is_resumed=False)

    def _write(self, block: Block, shard: bytes) -> None:
        try:
            self._store.write(block.index, self.digests[block.index], shard)
        except FileNotFoundError:
            if self._store.is_there:  # else another process has finished the run
                raise

    def _advance(self, index: int, *, is_resumed: bool) -> None:
        """Count a block and tell how far the run is."""
        with self._telling:
            (size, records), before = self._sizes.pop(index), self.progress
            self.progress = Progress(
                before.records + records,
                before.resumed_records + records * is_resumed,
                before.bytes_done + size,
                before.resumed_bytes + size * is_resumed,
                Work.sum([self._host, self._crew.work]),
                self._monitor.latest(),
                self._skipped,
            )
            self._on_progress(self.progress)


def check_records(inputs: list[Source], task: Task, run: Run) -> None:
    """Refuse inputs whose records are not those of a finished run.

    Raises:
        RunError: when they differ.
    """
    digest = hashlib.sha256()
    for block in task.cut(inputs):
        digest.update(block.digest())
    if digest.hexdigest() != run.manifest.records_sha256:
        raise RunError(
            f"{run.directory}: is finished, but the input has other records now; "
            "give a new directory"
        )
