"""Workers as actors of a Ray cluster; blocks and results travel through its object store."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from virnucpro.errors import SettingsError
from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.connection import (
    Hello,
    Ready,
    WorkerDiedError,
    WorkerHost,
    failure_of,
    message_of,
)
from virnucpro.runs.executors.slots import Endpoint
from virnucpro.runs.task import Result, Task
from virnucpro.runs.waiting import Wait, announced
from virnucpro.sequences.blocks import Block
from virnucpro.system.importing import safe_path

try:
    import ray
except ImportError:
    ray = None

Message = TypeVar("Message")
#: Seconds to wait for a cluster's port, and for its first answer.
_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 30.0
#: Seconds between two checks whether a wait has taken too long.
_LOOK = 0.5
#: Joins a cluster in a separate process, because Ray explains a failure only on standard error,
#: ignores signals meanwhile, and retries for minutes.
_TRIAL = """\
import sys
sys.path[:] = sys.argv[1:]
import logging, ray
try:
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
except BaseException as error:
    sys.exit(f"{error}")
"""


class _Worker:
    """The actor: a pipeline whose results are fetched one by one."""

    def __init__(self, device: str, task: Task, threads: int | None) -> None:
        import queue  # noqa: PLC0415 (runs in the process of the actor)

        self._host = WorkerHost(device, task, threads, is_checked=False)
        self._results: queue.Queue[Any] = queue.Queue()

    def hello(self) -> object:
        return message_of(self._host.hello)

    def start(self, budgets: Budgets) -> object:
        def begin() -> Ready:
            ready, self._pipeline = self._host.start(budgets, self._results.put)
            return ready

        return message_of(begin)

    def put(self, block: Block) -> None:
        self._pipeline.put(block)

    def result(self) -> object:
        return self._results.get()


class RayConnection:
    """A worker in a Ray actor.

    Args:
        device: `cpu` or `cuda`.
        task: task of the run.
    """

    def __init__(self, device: str, task: Task) -> None:
        is_gpu = device != "cpu"
        self._resource, self._is_met = "GPU" if is_gpu else "CPU", False
        options = {"num_gpus": 1} if is_gpu else {"num_cpus": 1}
        # One thread receives blocks while another waits for a result.
        worker = ray.remote(max_concurrency=2, max_restarts=0, **options)(_Worker)
        self._actor = worker.remote("cuda" if is_gpu else "cpu", task, None if is_gpu else 1)

    @property
    def awaited(self) -> str:
        """What `hello` and `start` are currently waiting for."""
        if self._is_met:
            return "a worker of the Ray cluster to load its networks"
        free, all_ = (
            found().get(self._resource, 0)
            for found in (ray.available_resources, ray.cluster_resources)
        )
        return (
            f"a {self._resource} of the Ray cluster and a worker on it; {free:g} of its {all_:g} "
            "are free"
        )

    def hello(self) -> Hello:
        """Wait for the first message of the worker."""
        wait = Wait(f"a {self._resource} of the Ray cluster and a worker on it")
        found = self._get(self._actor.hello.remote(), Hello, wait)
        self._is_met = True
        return found

    def start(self, budgets: Budgets) -> Ready:
        """Have the worker load its networks."""
        return self._get(self._actor.start.remote(budgets), Ready, Wait(self.awaited))

    def send(self, block: Block) -> None:
        """Put a block into the object store; the actor fetches it."""
        self._actor.put.remote(block)

    def receive(self) -> Result:
        """Wait for the next result."""
        return self._get(self._actor.result.remote(), Result)

    def stop(self) -> None:
        """Kill the actor."""
        ray.kill(self._actor)

    def _get(
        self,
        reference: Any,  # noqa: ANN401 (Ray's)
        kind: type[Message],
        wait: Wait | None = None,
    ) -> Message:
        try:
            while not ray.wait([reference], timeout=_LOOK)[0]:
                if wait is not None:
                    wait.look()
            message = ray.get(reference)
        except ray.exceptions.RayError as error:
            raise WorkerDiedError(_last_line(str(error))) from error
        if isinstance(message, kind):
            return message
        raise failure_of(message)


def endpoints(asked: str, task: Task, notify: Callable[[str], None]) -> list[Endpoint]:
    """Join the cluster and return an endpoint for each of its devices.

    Args:
        asked: `auto` (every GPU of the cluster, else one worker per CPU), `cuda` (every GPU), or
            `cpu` once for each worker.
        task: task of the run; its bundle must have the same path on every node.
        notify: takes a line for the user, for example when the cluster is slow to answer.

    Raises:
        SettingsError: Ray is not installed, or the cluster lacks the requested devices.
    """
    if ray is None:
        raise SettingsError("--executor ray needs Ray; pip install 'virnucpro[ray]'")
    if not ray.is_initialized():
        _join(notify)
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
    return [
        Endpoint(f"{name} {i + 1}", partial(RayConnection, name, task))
        for i, name in enumerate(names)
    ]


def _join(notify: Callable[[str], None]) -> None:
    """Join the cluster named by the environment, or start one on this machine."""
    address, origin = _address()
    where = f"at {address}, which {origin} names" if address else "on this machine"
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with announced(notify, lambda: f"the Ray cluster {where}"):
            if address:
                _try(address)
            job = ray.job_config.JobConfig()
            job._py_driver_sys_path = _NoPaths()  # noqa: SLF001 (Ray has no public option)
            ray.init(log_to_driver=False, logging_level=logging.ERROR, job_config=job)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        to_do = f"remove {origin} or set RAY_ADDRESS" if "/" in origin else "see RAY_ADDRESS"
        if "token" in str(error):
            to_do = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the token of the cluster"
        raise SettingsError(f"--executor ray: no cluster {where} ({error}); {to_do}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray would answer it with a stack dump


class _NoPaths(list[str]):
    """The paths that a Ray worker imports from before the standard library: none.

    Ray would add the working directory and the directory of the program.
    """

    def extend(self, _paths: object) -> None:
        """Add nothing."""


def _address() -> tuple[str, str]:
    """Return the address of the cluster that Ray would join, and its origin, or empty strings."""
    if named := os.environ.get("RAY_ADDRESS"):
        return named, "RAY_ADDRESS"
    folder = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 (Ray's)
    file = Path(folder, "ray", "ray_current_cluster")
    return (file.read_text().strip(), str(file)) if file.exists() else ("", "")


def _try(address: str) -> None:
    """Check that a cluster answers.

    Raises:
        OSError: it does not answer; the text says why.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    command = [sys.executable, "-P", "-c", _TRIAL, *safe_path()]
    trial = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)  # noqa: S603
    with trial:
        try:
            said = trial.communicate(timeout=_ANSWER_SECONDS)[1]
        except subprocess.TimeoutExpired:
            trial.kill()
            said = trial.communicate()[1]
        finally:
            trial.kill()
    if trial.returncode:
        raise ConnectionError(_reason(said.decode(errors="replace")))


def _reason(said: str) -> str:
    """Return why Ray did not join: its last warning, which is closer to the cause, or its error."""
    lines = said.strip().splitlines() or ["no answer"]
    warnings = [found[1] for line in lines if (found := re.match(r"\[.*?\] \S+: (.*)", line))]
    return (warnings or lines)[-1]


def _last_line(said: str) -> str:
    """Return the last line of an error, which names its cause, without colour codes."""
    lines = re.sub(r"\x1b\[\d*m", "", said).strip().splitlines()
    return lines[-1].strip() if lines else "no message"
