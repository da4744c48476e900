"""The blocks of a run: which are done, which is next, and the progress of the run."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from virnucpro.errors import InputError, RunError
from virnucpro.runs.claims import Claims
from virnucpro.runs.executors.worker_pool import WorkerPool
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
    """The progress of a run.

    Attributes:
        records: number of finished records, including those of earlier attempts.
        resumed_records: those of them that earlier attempts or other processes finished.
        bytes_done: bytes of the input in the finished blocks.
        resumed_bytes: those of them in blocks that earlier attempts or other processes finished.
        work: what this process and its workers have done.
        readings: the latest reading of each GPU of this machine.
        skipped: number of BAM lines skipped, because they are further alignments of a read.
    """

    records: int = 0
    resumed_records: int = 0
    bytes_done: int = 0
    resumed_bytes: int = 0
    work: Work = field(default_factory=Work)
    readings: dict[str, Reading] = field(default_factory=dict)
    skipped: int = 0


class BlockLoop:
    """Cuts the input into blocks, skips those that have a shard, writes the others' shards.

    Args:
        inputs: files in the order they are read.
        task: task of the run.
        store: stores the shards.
        pool: the workers; progress includes their work.
        monitor: reads the GPUs; progress includes its readings.
        on_progress: called after every block, from any thread but one at a time.
        notify: takes a line for the user, from any thread.

    Attributes:
        digests: digest of each block's records, in order; complete once all blocks have been read.
        progress: progress of the run.
        damage: the error at which `until_damage` ended early, or None.
    """

    def __init__(
        self,
        inputs: list[Source],
        task: Task,
        store: ShardStore,
        pool: WorkerPool,
        monitor: Monitor,
        on_progress: Callable[[Progress], None],
        notify: Callable[[str], None],
    ) -> None:
        self._inputs, self._task, self._store = inputs, task, store
        self._pool, self._monitor, self._on_progress = pool, monitor, on_progress
        self._notify = notify
        self._lock = threading.Lock()
        self._sizes: dict[int, tuple[int, int]] = {}
        self._host = Work()
        self._skipped = 0
        self.digests: list[bytes] = []
        self.progress = Progress()
        self.damage: InputError | None = None

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks that have no shard.

        Raises:
            RunError: a shard belongs to other records, because the input has changed.
        """
        return (block for block in self._read() if not self._is_done(block.index))

    def claimed_blocks(self, claims: Claims) -> Iterator[Block | None]:
        """Yield the blocks that this process can claim; None while others compute the rest.

        Blocks that others leave undone are claimed once their claims are stale. If the shards have
        been deleted, another process has finished the run.
        """
        missing = set()
        for block in self.blocks():
            if not claims.take(block.index):
                missing.add(block.index)
            elif self._is_done(block.index):  # between the two checks
                claims.release(block.index)
            else:
                yield block
        yield from self._left_by_others(missing, claims)

    def _left_by_others(self, missing: set[int], claims: Claims) -> Iterator[Block | None]:
        """Yield the blocks that others claimed but left undone; None while they compute."""
        blocks = f"the blocks of {self._store.directory} that other processes have claimed"
        wait = Wait(blocks, self._notify)
        while missing and self._store.is_there:
            yield None
            wait.look()
            before = len(missing)
            missing = {index for index in missing if not self._is_done(index)}
            if len(missing) < before:
                wait.begin()
            claimed = {index for index in missing if claims.take(index)}
            if claimed:  # read their records again
                missing -= claimed
                again = self._task.cut(self._inputs)
                yield from (block for block in again if block.index in claimed)

    def until_damage(self, blocks: Iterator[Block | None]) -> Iterator[Block | None]:
        """Yield blocks up to the first unreadable record; `damage` then holds the error."""
        try:
            yield from blocks
        except InputError as error:
            self.damage = error

    def _read(self) -> Iterator[Block]:
        """Cut the input into blocks; remember for each what `_advance` needs later."""
        stream = self._task.cut(self._inputs)
        bytes_before = 0
        while True:
            started = time.perf_counter()
            with announced(self._notify, self._awaited_input):
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
        """Name the input, which may be a silent pipe."""
        names = [str(source) for source in self._inputs[:1]]
        return f"more records ({', '.join(names)}{', ...' if len(self._inputs) > 1 else ''})"

    def _is_done(self, index: int) -> bool:
        """Whether a block already has its shard; if so, count it as resumed."""
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
        """Write the shard of a block that a worker has computed."""
        started = time.perf_counter()
        self._write(block, result.shard)
        with self._lock:
            self._host.add("writing", time.perf_counter() - started)
        self._advance(block.index, is_resumed=False)

    def mark_failed(self, block: Block, reason: str) -> None:
        """Write a shard that marks each record of a block as not processed, with the reason."""
        first, last = (block.pieces[i].record + 1 for i in (0, -1))
        problem = f"records {first} to {last} are of a block that two workers died on ({reason})"
        self._write(block, self._task.unscored(block, problem))
        self._advance(block.index, is_resumed=False)

    def _write(self, block: Block, shard: bytes) -> None:
        try:
            self._store.write(block.index, self.digests[block.index], shard)
        except FileNotFoundError:
            if self._store.is_there:  # otherwise another process has finished the run
                raise

    def _advance(self, index: int, *, is_resumed: bool) -> None:
        """Count a finished block and report the progress."""
        with self._lock:
            (size, records), before = self._sizes.pop(index), self.progress
            self.progress = Progress(
                before.records + records,
                before.resumed_records + records * is_resumed,
                before.bytes_done + size,
                before.resumed_bytes + size * is_resumed,
                Work.sum([self._host, self._pool.work]),
                self._monitor.latest(),
                self._skipped,
            )
            self._on_progress(self.progress)


def check_records(inputs: list[Source], task: Task, run: Run) -> None:
    """Check that inputs have the records of a finished run.

    Raises:
        RunError: they differ.
    """
    digest = hashlib.sha256()
    for block in task.cut(inputs):
        digest.update(block.digest())
    if digest.hexdigest() != run.manifest.records_sha256:
        raise RunError(
            f"{run.directory}: this run is finished, but its input has changed since; "
            "give a new directory"
        )
