"""A link: one worker as an executor sees it, wherever it runs."""

import os
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from virnucpro.errors import VirnucproError
from virnucpro.runs.devices import Budgets
from virnucpro.runs.pipeline import Pipeline
from virnucpro.runs.task import Result, Task
from virnucpro.sequences.blocks import Block


class Hello(NamedTuple):
    """What a worker says of its device before it loads anything.

    Attributes:
        kind: what sort of device.
        precision: the encoders' arithmetic.
        budgets: the largest that fit its free memory.
        notes: what the user should know of these choices.
    """

    kind: str
    precision: str
    budgets: Budgets
    notes: tuple[str, ...] = ()


class Ready(NamedTuple):
    """What a worker says once its networks are loaded.

    Attributes:
        ways: how they are computed.
        notes: the same with reasons, a line each.
    """

    ways: list[str]
    notes: list[str]


class WorkerDiedError(Exception):
    """A worker is gone, or cannot go on; its text says why."""


class Link(Protocol):
    """One worker. Every method but `send` and `stop` waits, and may raise `WorkerDiedError`.

    `hello` and `start` raise `RunError` when the wait takes too long.
    """

    @property
    def awaited(self) -> str:
        """What `hello` and `start` wait for at the moment."""
        ...

    def hello(self) -> Hello:
        """Meet the worker."""
        ...

    def start(self, budgets: Budgets) -> Ready:
        """Let it load its networks."""
        ...

    def send(self, block: Block) -> None:
        """Give it a block, which must not wait for the results of earlier ones."""
        ...

    def receive(self) -> Result:
        """Return the next result; expected failures are raised as they were in the worker."""
        ...

    def stop(self) -> None:
        """Let go of it, whatever it is doing."""
        ...


@dataclass
class Workbench:
    """A worker in the making: the parts of a link that run where the worker does.

    Args:
        device: name of its device.
        task: of the run.
        threads: of a CPU it may use; by default all.
        is_checked: whether the digests of the weights were compared on this machine already.
    """

    device: str
    task: Task
    threads: int | None = None
    is_checked: bool = True

    def hello(self) -> Hello:
        """Choose precision and budgets."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self._device, budgets, notes = self.task.settle(self.device, is_checked=self.is_checked)
        return Hello(self._device.kind, self._device.precision, budgets, notes)

    def start(
        self, budgets: Budgets, deliver: Callable[[Result | BaseException], None]
    ) -> tuple[Ready, Pipeline]:
        """Load the networks; results go to `deliver`."""
        worker = self.task.worker(self._device, budgets)
        return Ready(worker.ways, worker.notes), Pipeline(worker, deliver)


class InProcess:
    """A worker in threads of this process, which starts a second faster than one of its own.

    Args:
        device: name of its device.
        task: of the run.
        threads: of a CPU it may use; by default all.
    """

    def __init__(self, device: str, task: Task, threads: int | None = None) -> None:
        self._bench = Workbench(device, task, threads)
        self._results: queue.Queue[Result | BaseException] = queue.Queue()
        self._pipeline: Pipeline | None = None

    @property
    def awaited(self) -> str:
        """What `hello` and `start` wait for."""
        return "the networks to be loaded"

    def hello(self) -> Hello:
        """Meet the worker."""
        return self._bench.hello()

    def start(self, budgets: Budgets) -> Ready:
        """Load the networks."""
        try:
            ready, self._pipeline = self._bench.start(budgets, self._results.put)
        except Exception as error:  # as when there is too little memory
            raise failure_of(error) from error
        return ready

    def send(self, block: Block) -> None:
        """Put a block into the pipeline."""
        if self._pipeline is not None:
            self._pipeline.put(block)

    def receive(self) -> Result:
        """Wait for the next result."""
        message = self._results.get()
        if isinstance(message, Result):
            return message
        raise failure_of(message)

    def stop(self) -> None:
        """Let its threads begin nothing new."""
        if self._pipeline is not None:
            self._pipeline.stop()
        self._results.put(WorkerDiedError("it was let go of"))  # wakes whoever waits for a result


def failure_of(message: object) -> VirnucproError | WorkerDiedError:
    """Return what came in place of a message, as it is to be raised."""
    if isinstance(message, VirnucproError | WorkerDiedError):
        return message
    return WorkerDiedError(reason_of(message))


def message_of(call: Callable[[], object]) -> object:
    """Return what a call returns, or, as a message, what it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 (raised again where the message is read)
        return failure_of(error)


def reason_of(error: object) -> str:
    """Return the first line of what an error says."""
    said = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *said[:1]])[:300]


def environment_of(device: str) -> dict[str, str]:
    """Return the environment in which `device` is the only GPU, so that it is `cuda:0`."""
    _, _, index = device.partition(":")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    all_of_them = visible.split(",") if visible else None
    chosen = all_of_them[int(index or 0)] if all_of_them else index or "0"
    return os.environ | ({"CUDA_VISIBLE_DEVICES": chosen} if device.startswith("cuda") else {})
