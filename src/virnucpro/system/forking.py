"""Safety of processes that were forked from one that computes, for example by `os.fork`."""

import os
import sys
import threading
from typing import Protocol, TypeVar
from weakref import WeakSet

from virnucpro.errors import RunError

#: Longest time in seconds for a table of one row.
_SECONDS = 10.0


class _File(Protocol):
    def close(self) -> None: ...


FileT = TypeVar("FileT", bound=_File)
_OWN: "WeakSet[_File]" = WeakSet()


def close_in_children(file: FileT) -> FileT:
    """Close a lock or a pipe in forked processes, which would otherwise keep it open."""
    _OWN.add(file)
    return file


def _close_all() -> None:
    for file in list(_OWN):
        file.close()


os.register_at_fork(after_in_child=_close_all)


def check_fork() -> None:
    """Check that libraries do not wait for threads that only the parent process has.

    A fork copies the state of a library but none of its threads. If the parent has used Polars, it
    waits forever in the child.

    Raises:
        RunError: Polars does not work in this process.
    """
    if "polars" not in sys.modules:
        return
    trial = threading.Thread(target=_use_polars, daemon=True)
    trial.start()
    trial.join(_SECONDS)
    if trial.is_alive():
        raise RunError(
            "this process was forked from one that had used Polars, whose threads it lacks; start "
            'it with multiprocessing.get_context("spawn")'
        )


def _use_polars() -> None:
    import polars as pl  # noqa: PLC0415 (already loaded)

    pl.DataFrame({"a": [1]}).lazy().select(pl.len(), pl.col("a").sum()).collect()
