"""Workers as actors on a Ray cluster: blocks and results travel through its object store."""

import logging
import os
import socket
from functools import partial
from typing import Any, TypeVar

from virnucpro.engine.blocks import Block
from virnucpro.engine.devices import Budgets
from virnucpro.engine.executors.links import (
    Hello,
    Ready,
    Workbench,
    WorkerDiedError,
    failure_of,
    message_of,
)
from virnucpro.engine.executors.members import Place
from virnucpro.engine.task import Result, Task
from virnucpro.errors import SettingsError

try:
    import ray
except ImportError:
    ray = None

Message = TypeVar("Message")
#: Seconds to wait for a cluster's first answer.
_CONNECT_SECONDS = 5.0


class _Worker:
    """What runs in the actor: a pipeline whose results are fetched one by one."""

    def __init__(self, device: str, task: Task, threads: int | None) -> None:
        import queue  # noqa: PLC0415 (of the actor's process)

        self._workbench = Workbench(device, task, threads, is_checked=False)
        self._results: queue.Queue[Any] = queue.Queue()

    def hello(self) -> object:
        return message_of(self._workbench.hello)

    def start(self, budgets: Budgets) -> object:
        def begin() -> Ready:
            ready, self._pipeline = self._workbench.start(budgets, self._results.put)
            return ready

        return message_of(begin)

    def put(self, block: Block) -> None:
        self._pipeline.put(block)

    def result(self) -> object:
        return self._results.get()


class Actor:
    """A worker in a Ray actor.

    Args:
        device: `cpu` or `cuda`.
        task: of the run.
    """

    def __init__(self, device: str, task: Task) -> None:
        is_gpu = device != "cpu"
        options = {"num_gpus": 1} if is_gpu else {"num_cpus": 1}
        # One thread takes blocks while another waits for a result.
        worker = ray.remote(max_concurrency=2, max_restarts=0, **options)(_Worker)
        self._actor = worker.remote("cuda" if is_gpu else "cpu", task, None if is_gpu else 1)

    def hello(self) -> Hello:
        """Meet the worker."""
        return self._get(self._actor.hello.remote(), Hello)

    def start(self, budgets: Budgets) -> Ready:
        """Let it load its networks."""
        return self._get(self._actor.start.remote(budgets), Ready)

    def send(self, block: Block) -> None:
        """Put a block into the object store; the actor fetches it."""
        self._actor.put.remote(block)

    def receive(self) -> Result:
        """Wait for the next result."""
        return self._get(self._actor.result.remote(), Result)

    def stop(self) -> None:
        """Kill the actor."""
        ray.kill(self._actor)

    def _get(self, reference: Any, kind: type[Message]) -> Message:  # noqa: ANN401
        try:
            message = ray.get(reference)
        except ray.exceptions.RayError as error:
            raise WorkerDiedError(str(error).strip().splitlines()[0]) from error
        if isinstance(message, kind):
            return message
        raise failure_of(message)


def places(asked: str, task: Task) -> list[Place]:
    """Join the cluster and return what starts a worker on each of its devices.

    Args:
        asked: `auto` or `cuda` (every GPU of the cluster, else one worker for each of its CPUs),
            or `cpu` as many times as there should be workers.
        task: of the run; its bundle must be on every node, under the same path.

    Raises:
        SettingsError: without Ray, or when the cluster lacks what was asked for.
    """
    if ray is None:
        raise SettingsError("--executor ray needs Ray; pip install 'virnucpro[ray]'")
    if not ray.is_initialized():
        _join()
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    names = asked.split(",")
    if asked in ("auto", "cuda"):
        names = ["cuda"] * gpus
        if asked == "auto" and not gpus:
            names = ["cpu"] * cpus
    has_room = 0 < names.count("cuda") <= gpus or 0 < names.count("cpu") <= cpus
    if set(names) not in ({"cuda"}, {"cpu"}) or not has_room:
        raise SettingsError(
            f"--device {asked}: the Ray cluster has {gpus} GPUs and {cpus} CPUs; give auto, cuda, "
            "or cpu once for each worker"
        )
    return [Place(f"{name} {i + 1}", partial(Actor, name, task)) for i, name in enumerate(names)]


def _join() -> None:
    """Join the cluster that the environment names, or start one on this machine."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdecimal() and "//" not in host:  # Ray would wait for ever
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"--executor ray: no cluster at {address or 'this machine'} ({error}); see RAY_ADDRESS"
        ) from error
