"""A worker in a process of its own, which may die without the run.

    python -m virnucpro.engine.executors.processes DESCRIPTOR

Nothing but the pipe joins the two: a parent that is killed leaves no worker behind, since reading
ends then; and no lock, queue or shared memory can be left in disorder by either.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from virnucpro.engine.blocks import Block
from virnucpro.engine.devices import Budgets
from virnucpro.engine.executors.links import (
    Hello,
    Ready,
    Workbench,
    WorkerDiedError,
    environment_of,
    failure_of,
    reason_of,
)
from virnucpro.engine.task import Result, Task
from virnucpro.errors import VirnucproError

Message = TypeVar("Message")
#: Seconds that a worker whose pipe is closed gets to leave by itself.
_PATIENCE = 1.0


class Process:
    """A worker in a process of its own.

    Args:
        device: name of its device.
        task: of the run.
        threads: of a CPU it may use; by default all.
    """

    def __init__(self, device: str, task: Task, threads: int | None = None) -> None:
        self._pipe, theirs = Pipe()
        environment = environment_of(device)
        package = str(Path(__file__).parents[3])
        environment["PYTHONPATH"] = os.pathsep.join(
            [package, *filter(None, [environment.get("PYTHONPATH")])]
        )
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (this module, no input of anyone)
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        inside = "cuda" if device.startswith("cuda") else device
        self._send(Workbench(inside, task, threads))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def hello(self) -> Hello:
        """Meet the worker."""
        return self._expect(Hello)

    def start(self, budgets: Budgets) -> Ready:
        """Let it load its networks."""
        self._send(budgets)
        return self._expect(Ready)

    def send(self, block: Block) -> None:
        """Write a block into the pipe, which the worker always reads."""
        self._send(block)

    def receive(self) -> Result:
        """Wait for the next result."""
        return self._expect(Result)

    def stop(self) -> None:
        """Close the pipe, which ends the worker; kill it if it does not."""
        self._pipe.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the next reading tells
            self._pipe.send(message)

    def _expect(self, kind: type[Message]) -> Message:
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):  # also in the middle of a message
            raise WorkerDiedError(_ended(self._process.wait())) from None
        if isinstance(message, kind):
            return message
        raise failure_of(message)


def _ended(status: int) -> str:
    """Say in words how a process ended."""
    if status >= 0:
        return f"its process ended with status {status}"
    with suppress(ValueError):
        return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process was ended by signal {-status}"


def _serve(pipe: Connection) -> None:
    """Do what the parent asks until it closes the pipe or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # are the parent's to answer
        signal.signal(number, signal.SIG_IGN)
    writing = threading.Lock()

    def tell(message: object) -> None:
        expected = isinstance(message, VirnucproError | tuple)
        with writing, suppress(OSError):
            pipe.send(message if expected else WorkerDiedError(reason_of(message)))

    try:
        bench: Workbench = pipe.recv()
        tell(bench.hello())
        ready, pipeline = bench.start(pipe.recv(), tell)
        tell(ready)
        while True:
            pipeline.put(pipe.recv())
    except (EOFError, ConnectionResetError):
        pass
    except BaseException as error:  # noqa: BLE001 (said by the parent)
        tell(error)
    os._exit(0)  # whatever its threads are doing is of no use any more


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
