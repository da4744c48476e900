"""Processes of the command line that need not load PyTorch anew: each is forked from one that has.

    python tests/forks.py

reads a request a line (arguments, environment, directory, files for its streams, a named pipe for
its status, what comes before) and answers each with the id of the process, whose status goes into
the pipe when it ends. Ends when its input does.
"""

import importlib
import json
import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

#: What a command loads first. What reads its environment as it is loaded is not among it.
LOADED = (
    "polars", "torch", "virnucpro.prediction.api", "virnucpro.embedding.api",
    "virnucpro.training.api",
    "virnucpro.bundles.assemble", "virnucpro.runs.progress", "virnucpro.cli.app",
    "virnucpro.prediction.report.page",
)  # fmt: skip


def serve() -> None:
    """Answer requests."""
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        if not os.fork():
            keep(json.loads(line))
        reap()
    reap()


def reap() -> None:
    """Let go of what has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def keep(request: dict[str, object]) -> NoReturn:
    """Fork the process that was asked for and wait for its end."""
    child = os.fork()
    if not child:
        become(request)
    print(child, flush=True)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):  # nobody is there to read it
        os.write(os.open(str(request["status"]), os.O_WRONLY | os.O_NONBLOCK), b"%d" % status)
    os._exit(0)


def become(request: dict[str, object]) -> NoReturn:
    """Be the process that was asked for."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY
        os.dup2(os.open(str(request[name]), flags), descriptor)
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(request["directory"]))
    sys.stdin = open(0)  # noqa: SIM115 (a descriptor)
    sys.argv = ["virnucpro", *arguments]
    status = 0
    try:
        exec(str(request["before"]), {})
        importlib.import_module("virnucpro.cli.app").main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 (as an interpreter does)
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
