"""Blocks through a worker: one is prepared and one is written while another is on the device."""

import atexit
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

from virnucpro.engine.blocks import Block
from virnucpro.engine.shards import encode_shard, make_shard
from virnucpro.engine.worker import Pending, Prepared, Work, Worker

#: Seconds between looks whether a pipeline was stopped.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Task:
    """What every worker of a run must know.

    Attributes:
        bundle: name of an embedded bundle, or a bundle's directory.
        bundle_sha256: digest of its manifest.
        chunk_length: bases of a chunk.
        threshold: a record is virus above this p_virus.
        precision: what the user asked for.
    """

    bundle: str
    bundle_sha256: str
    chunk_length: int
    threshold: float
    precision: str


class Result(NamedTuple):
    """What a worker gives back.

    Attributes:
        block: its index.
        shard: content of its shard.
        work: what the worker has done so far, this block included.
    """

    block: int
    shard: bytes
    work: Work


class Pipeline:
    """Takes blocks, gives their results, in order; each stage is a thread.

    Blocks are not refused: whoever puts them bounds how many are under way.

    Args:
        worker: is used by this pipeline alone.
        task: of the run.
        deliver: is called in a thread with each result, or with what went wrong, after which
            nothing more comes.
    """

    def __init__(
        self, worker: Worker, task: Task, deliver: Callable[[Result | BaseException], None]
    ) -> None:
        self._worker, self._task, self._deliver = worker, task, deliver
        self._stopped = threading.Event()
        self._blocks: queue.Queue[Block] = queue.Queue()
        prepared: queue.Queue[Prepared] = queue.Queue(maxsize=1)
        pending: queue.Queue[Pending] = queue.Queue(maxsize=1)
        stages: list[tuple[queue.Queue[Any], Callable[[Any], Any], Callable[[Any], None]]] = [
            (self._blocks, worker.prepare, partial(self._hand_on, prepared)),
            (prepared, worker.submit, partial(self._hand_on, pending)),
            (pending, self._finish, deliver),
        ]
        self._threads = [
            threading.Thread(target=self._go, args=stage, daemon=True) for stage in stages
        ]
        for thread in self._threads:
            thread.start()
        _RUNNING.add(self)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for what has begun, once it is stopped."""
        for thread in self._threads:
            thread.join()

    def put(self, block: Block) -> None:
        """Take a block."""
        self._blocks.put(block)

    def _go(
        self,
        source: "queue.Queue[Any]",
        stage: Callable[[Any], Any],
        hand_on: Callable[[Any], None],
    ) -> None:
        try:
            while not self._stopped.is_set():
                with suppress(queue.Empty):
                    hand_on(stage(source.get(timeout=_LOOK_SECONDS)))
        except BaseException as error:  # noqa: BLE001 (told where the results go)
            self._deliver(error)

    def _hand_on(self, target: "queue.Queue[Any]", item: object) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                target.put(item, timeout=_LOOK_SECONDS)
                break

    def _finish(self, pending: Pending) -> Result:
        worker, task = self._worker, self._task
        scored = worker.collect(pending)
        with worker.work.timed("shards"):
            shard = encode_shard(make_shard(scored, task.chunk_length, task.threshold))
        work = replace(worker.work, seconds=dict(worker.work.seconds))
        return Result(scored.prepared.block.index, shard, work)


#: A pipeline is in here as long as one of its threads runs.
_RUNNING: "WeakSet[Pipeline]" = WeakSet()


@atexit.register
def _wait_for_all() -> None:
    """Wait for what has begun: PyTorch aborts an interpreter that ends while it computes."""
    running = list(_RUNNING)
    for pipeline in running:
        pipeline.stop()
    for pipeline in running:
        pipeline.join()
