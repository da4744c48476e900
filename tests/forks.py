"""Processes of the command line that need not load PyTorch anew: each is forked from one that has.

    python tests/forks.py

reads a request a line (arguments, environment, directory, files for its streams, what comes before)
and answers each with the status of the process. Ends when its input does.
"""

import importlib
import json
import os
import sys
import traceback
from typing import NoReturn

#: What a command loads first. What reads its environment as it is loaded is not among it.
LOADED = (
    "polars", "torch", "virnucpro.api", "virnucpro.embedding", "virnucpro.fitting",
    "virnucpro.bundles.assemble", "virnucpro.telemetry", "virnucpro.cli.app",
    "virnucpro.results.report",
)  # fmt: skip


def serve() -> None:
    """Answer requests."""
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            become(request)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)


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
