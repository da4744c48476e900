"""The pipeline of a worker: prepares one block and finishes another while one is computed."""

import atexit
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

from virnucpro.runs.task import BlockWorker, Result
from virnucpro.sequences.blocks import Block

#: Seconds between two checks whether the pipeline has been stopped.
_LOOK_SECONDS = 0.2


class Pipeline:
    """Turns blocks into results, in order; each stage runs in its own thread.

    The pipeline accepts every block: the caller limits the number of blocks in flight.

    Args:
        worker: the worker, which only this pipeline uses.
        deliver: called from a thread with each result, or with the first error, after which no
            more results follow.
    """

    def __init__(
        self, worker: BlockWorker, deliver: Callable[[Result | BaseException], None]
    ) -> None:
        self._worker, self._deliver = worker, deliver
        self._stopped = threading.Event()
        self._blocks: queue.Queue[Block] = queue.Queue()
        prepared: queue.Queue[Any] = queue.Queue(maxsize=1)
        pending: queue.Queue[Any] = queue.Queue(maxsize=1)
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
        """Start nothing new."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the current stages to end; call `stop` first."""
        for thread in self._threads:
            thread.join()

    def put(self, block: Block) -> None:
        """Add a block."""
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
        except BaseException as error:  # noqa: BLE001 (delivered like a result)
            self._deliver(error)

    def _hand_on(self, target: "queue.Queue[Any]", item: object) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                target.put(item, timeout=_LOOK_SECONDS)
                break

    def _finish(self, pending: Any) -> Result:  # noqa: ANN401 (type of the worker)
        block, shard = self._worker.finish(pending)
        work = self._worker.work
        return Result(block, shard, replace(work, seconds=dict(work.seconds)))


#: The pipelines that have a running thread.
_RUNNING: "WeakSet[Pipeline]" = WeakSet()


@atexit.register
def _wait_for_all() -> None:
    """Wait for running stages: PyTorch aborts an interpreter that exits while it computes."""
    running = list(_RUNNING)
    for pipeline in running:
        pipeline.stop()
    for pipeline in running:
        pipeline.join()
