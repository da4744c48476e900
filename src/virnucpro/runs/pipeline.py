"""Blocks through a worker: one is prepared and one is written while another is on the device."""

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

#: Seconds between looks whether a pipeline was stopped.
_LOOK_SECONDS = 0.2


class Pipeline:
    """Takes blocks, gives their results, in order; each stage is a thread.

    Blocks are not refused: whoever puts them bounds how many are under way.

    Args:
        worker: is used by this pipeline alone.
        deliver: is called in a thread with each result, or with what went wrong, after which
            nothing more comes.
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

    def _finish(self, pending: Any) -> Result:  # noqa: ANN401 (the worker's own)
        block, shard = self._worker.finish(pending)
        work = self._worker.work
        return Result(block, shard, replace(work, seconds=dict(work.seconds)))


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
