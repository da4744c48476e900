"""What a process may do that was forked from one that computes, as by `os.fork`."""

import os
import sys
import threading
from typing import Protocol, TypeVar
from weakref import WeakSet

from virnucpro.errors import RunError

#: Seconds that a table of one row may take.
_SECONDS = 10.0


class _File(Protocol):
    def close(self) -> None: ...


FileT = TypeVar("FileT", bound=_File)
_OWN: "WeakSet[_File]" = WeakSet()


def close_in_children(file: FileT) -> FileT:
    """Keep a lock or a pipe to this process; what is forked from it would hold it as long."""
    _OWN.add(file)
    return file


def _close_all() -> None:
    for file in list(_OWN):
        file.close()


os.register_at_fork(after_in_child=_close_all)


def check_fork() -> None:
    """Refuse a process whose libraries wait for threads that only its parent has.

    A fork copies the state of a library and none of its threads: Polars, once it was used, waits
    for ever in the child.

    Raises:
        RunError: when this is such a process.
    """
    if "polars" not in sys.modules:
        return
    trial = threading.Thread(target=_use_polars, daemon=True)
    trial.start()
    trial.join(_SECONDS)
    if trial.is_alive():
        raise RunError(
            "this process was forked from one that had used Polars, whose threads it lacks; start "
            'it afresh, as with multiprocessing.get_context("spawn")'
        )


def _use_polars() -> None:
    import polars as pl  # noqa: PLC0415 (it is loaded)

    pl.DataFrame({"a": [1]}).lazy().select(pl.len(), pl.col("a").sum()).collect()
