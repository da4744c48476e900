"""A worker in a process of its own, which may die without the run.

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
from typing import TypeVar

from virnucpro.errors import RunError, VirnucproError
from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.connection import (
    Hello,
    Ready,
    Workbench,
    WorkerDiedError,
    environment_of,
    failure_of,
    reason_of,
)
from virnucpro.runs.task import Result, Task
from virnucpro.runs.waiting import Wait
from virnucpro.sequences.blocks import Block
from virnucpro.system.forking import close_in_children
from virnucpro.system.importing import safe_path
from virnucpro.system.threads import no_thread

Message = TypeVar("Message")
#: Seconds between looks whether a wait has taken too long.
_LOOK = 0.5
#: Seconds that a worker whose pipe is closed gets to leave by itself.
_PATIENCE = 1.0
#: What the process runs: it imports from where its parent does, never from its working directory.
_PROGRAM = f"""\
import sys
sys.path[:] = sys.argv[2:]
from {__name__} import serve
serve(int(sys.argv[1]))
"""


class Process:
    """A worker in a process of its own.

    Args:
        device: name of its device.
        task: of the run.
        threads: of a CPU it may use; by default all.
    """

    def __init__(self, device: str, task: Task, threads: int | None = None) -> None:
        self._device, self._is_started = device, False
        ours, theirs = Pipe()
        self._pipe = close_in_children(ours)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 (this module, no input of anyone)
                    [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), *safe_path()],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=environment_of(device),
                    start_new_session=True,
                )
        except BlockingIOError as error:
            raise RunError(f"a worker on {device} could not be started: {no_thread()}") from error
        inside = "cuda" if device.startswith("cuda") else device
        self._send(Workbench(inside, task, threads))

    @property
    def awaited(self) -> str:
        """What `hello` and `start` wait for."""
        return f"the worker on {self._device}, process {self.pid}"

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def hello(self) -> Hello:
        """Meet the worker."""
        return self._expect(Hello, Wait(self.awaited))

    def start(self, budgets: Budgets) -> Ready:
        """Let it load its networks."""
        self._send(budgets)
        ready = self._expect(Ready, Wait(self.awaited))
        self._is_started = True
        return ready

    def send(self, block: Block) -> None:
        """Write a block into the pipe, which the worker always reads."""
        self._send(block)

    def receive(self) -> Result:
        """Wait for the next result."""
        return self._expect(Result)

    def stop(self) -> None:
        """Close the pipe, which ends the worker; kill it if it does not, or is not up yet."""
        self._pipe.close()
        try:
            self._process.wait(_PATIENCE if self._is_started else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the next reading tells
            self._pipe.send(message)

    def _expect(self, kind: type[Message], wait: Wait | None = None) -> Message:
        try:
            while wait is not None and not self._pipe.poll(_LOOK):
                wait.look()
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


def serve(descriptor: int) -> None:
    """Do what the parent asks until it closes the pipe, which has this descriptor, or is gone."""
    pipe = Connection(descriptor)
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
