"""A worker in its own process, which may die without ending the run.

Parent and worker share only a pipe. If the parent is killed, the pipe closes and the worker exits.
Neither can leave a lock, a queue or shared memory in a broken state.
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
    WorkerDiedError,
    WorkerHost,
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
#: Seconds between two checks whether a wait has taken too long.
_LOOK = 0.5
#: Seconds that a worker has to exit after its pipe is closed.
_PATIENCE = 1.0
#: The program of the process: it imports from the paths of its parent, never from its working
#: directory.
_PROGRAM = f"""\
import sys
sys.path[:] = sys.argv[2:]
from {__name__} import serve
serve(int(sys.argv[1]))
"""


class ProcessConnection:
    """A worker in its own process.

    Args:
        device: name of its device.
        task: task of the run.
        threads: number of CPU threads it may use (default: all).
    """

    def __init__(self, device: str, task: Task, threads: int | None = None) -> None:
        self._device, self._is_started = device, False
        ours, theirs = Pipe()
        self._pipe = close_in_children(ours)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 (runs this module, no user input)
                    [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), *safe_path()],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=environment_of(device),
                    start_new_session=True,
                )
        except BlockingIOError as error:
            raise RunError(f"a worker on {device} could not be started: {no_thread()}") from error
        inside = "cuda" if device.startswith("cuda") else device
        self._send(WorkerHost(inside, task, threads))

    @property
    def awaited(self) -> str:
        """What `hello` and `start` are currently waiting for."""
        return f"the worker on {self._device}, process {self.pid}"

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def hello(self) -> Hello:
        """Wait for the first message of the worker."""
        return self._expect(Hello, Wait(self.awaited))

    def start(self, budgets: Budgets) -> Ready:
        """Have the worker load its networks."""
        self._send(budgets)
        ready = self._expect(Ready, Wait(self.awaited))
        self._is_started = True
        return ready

    def send(self, block: Block) -> None:
        """Write a block into the pipe, from which the worker always reads."""
        self._send(block)

    def receive(self) -> Result:
        """Wait for the next result."""
        return self._expect(Result)

    def stop(self) -> None:
        """Close the pipe, which ends the worker; kill one that does not exit or is starting."""
        self._pipe.close()
        try:
            self._process.wait(_PATIENCE if self._is_started else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the next read reports it
            self._pipe.send(message)

    def _expect(self, kind: type[Message], wait: Wait | None = None) -> Message:
        try:
            while wait is not None and not self._pipe.poll(_LOOK):
                wait.look()
            message = self._pipe.recv()
        except (EOFError, OSError):  # even in the middle of a message
            raise WorkerDiedError(_ended(self._process.wait())) from None
        if isinstance(message, kind):
            return message
        raise failure_of(message)


def _ended(status: int) -> str:
    """Describe how a process ended."""
    if status >= 0:
        return f"its process ended with status {status}"
    with suppress(ValueError):
        return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process was ended by signal {-status}"


def serve(descriptor: int) -> None:
    """Serve the parent through the pipe `descriptor` until the parent closes it or exits."""
    pipe = Connection(descriptor)
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent handles them
        signal.signal(number, signal.SIG_IGN)
    writing = threading.Lock()

    def send(message: object) -> None:
        expected = isinstance(message, VirnucproError | tuple)
        with writing, suppress(OSError):
            pipe.send(message if expected else WorkerDiedError(reason_of(message)))

    try:
        host: WorkerHost = pipe.recv()
        send(host.hello())
        ready, pipeline = host.start(pipe.recv(), send)
        send(ready)
        while True:
            pipeline.put(pipe.recv())
    except (EOFError, ConnectionResetError):
        pass
    except BaseException as error:  # noqa: BLE001 (the parent reports it)
        send(error)
    os._exit(0)  # nobody needs what its threads still compute
