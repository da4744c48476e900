"""A connection to one worker, the same for every kind of worker."""

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
    """The first message of a worker, before it loads anything: its device.

    Attributes:
        kind: kind of device.
        precision: the encoders' arithmetic.
        budgets: the largest budgets that fit its free memory.
        notes: what the user should know about these choices.
    """

    kind: str
    precision: str
    budgets: Budgets
    notes: tuple[str, ...] = ()


class Ready(NamedTuple):
    """The second message of a worker, once its networks are loaded.

    Attributes:
        backends: how the networks are computed, one line each.
        notes: the same with reasons, one line each.
    """

    backends: list[str]
    notes: list[str]


class WorkerDiedError(Exception):
    """A worker has died or cannot continue; the text says why."""


class Connection(Protocol):
    """A connection to one worker.

    Every method except `send` and `stop` waits, and may raise `WorkerDiedError`. `hello` and
    `start` raise `RunError` if the wait takes too long.
    """

    @property
    def awaited(self) -> str:
        """What `hello` and `start` are currently waiting for."""
        ...

    def hello(self) -> Hello:
        """Wait for the first message of the worker."""
        ...

    def start(self, budgets: Budgets) -> Ready:
        """Have the worker load its networks."""
        ...

    def send(self, block: Block) -> None:
        """Send a block; never waits for the results of earlier blocks."""
        ...

    def receive(self) -> Result:
        """Return the next result; raise expected failures as the worker raised them."""
        ...

    def stop(self) -> None:
        """End the worker, whatever it is doing."""
        ...


@dataclass
class WorkerHost:
    """Creates a worker; this half of a connection runs where the worker runs.

    Args:
        device: name of its device.
        task: task of the run.
        threads: number of CPU threads it may use (default: all).
        is_checked: whether the digests of the weights have been verified on this machine.
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
        """Load the networks; pass each result to `deliver`."""
        worker = self.task.worker(self._device, budgets)
        return Ready(worker.backends, worker.notes), Pipeline(worker, deliver)


class InProcessConnection:
    """A worker in threads of this process, which starts a second faster than a new process.

    Args:
        device: name of its device.
        task: task of the run.
        threads: number of CPU threads it may use (default: all).
    """

    def __init__(self, device: str, task: Task, threads: int | None = None) -> None:
        self._host = WorkerHost(device, task, threads)
        self._results: queue.Queue[Result | BaseException] = queue.Queue()
        self._pipeline: Pipeline | None = None

    @property
    def awaited(self) -> str:
        """What `hello` and `start` are currently waiting for."""
        return "the networks to be loaded"

    def hello(self) -> Hello:
        """Return the first message of the worker."""
        return self._host.hello()

    def start(self, budgets: Budgets) -> Ready:
        """Load the networks."""
        try:
            ready, self._pipeline = self._host.start(budgets, self._results.put)
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
        """Let its threads finish their current work and start no more."""
        if self._pipeline is not None:
            self._pipeline.stop()
        self._results.put(WorkerDiedError("it was stopped"))  # wakes a waiting `receive`


def failure_of(message: object) -> VirnucproError | WorkerDiedError:
    """Return the exception to raise for a message that is not the expected one."""
    if isinstance(message, VirnucproError | WorkerDiedError):
        return message
    return WorkerDiedError(reason_of(message))


def message_of(call: Callable[[], object]) -> object:
    """Return the result of a call, or the exception that it raises as a message."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 (raised again by the reader)
        return failure_of(error)


def reason_of(error: object) -> str:
    """Return the type and the first line of an error."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])[:300]


def environment_of(device: str) -> dict[str, str]:
    """Return an environment in which `device` is the only GPU and hence `cuda:0`."""
    _, _, index = device.partition(":")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    all_of_them = visible.split(",") if visible else None
    chosen = all_of_them[int(index or 0)] if all_of_them else index or "0"
    return os.environ | ({"CUDA_VISIBLE_DEVICES": chosen} if device.startswith("cuda") else {})
