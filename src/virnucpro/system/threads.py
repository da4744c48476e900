"""Checks that threads can be started; otherwise libraries abort or flood the terminal."""

import os
import resource
import threading

from virnucpro.errors import SettingsError

#: Threads that a command starts on any machine, and variables that limit the threads of libraries,
#: which otherwise start one per core.
_OWN, _POOLS = 14, ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
#: Stack size in bytes of an idle thread.
_STACK = 1 << 16


def check_threads() -> None:
    """Start as many threads as the libraries of a command will start, and end them.

    Raises:
        SettingsError: a limit forbids that many threads.
    """
    over = threading.Event()
    started = []
    usual = threading.stack_size(_STACK)
    try:
        for _ in range(_OWN + sum(map(_threads_of, _POOLS))):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise SettingsError(no_thread()) from error
    finally:
        threading.stack_size(usual)
        over.set()
        for thread in started:
            thread.join()


def is_no_thread(error: BaseException) -> bool:
    """Return whether an error says that a thread could not be started."""
    return "can't start new thread" in str(error)


def no_thread() -> str:
    """Return the message that no more threads can be started, and what to do."""
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = "a limit" if most == resource.RLIM_INFINITY else f"the limit of {most:,}"
    return (
        f"no more threads or processes can be started ({limit} for this user, ulimit -u, or one of "
        "the container or job); raise it, or set OMP_NUM_THREADS and POLARS_MAX_THREADS to 1"
    )


def _threads_of(variable: str) -> int:
    """Return the number of threads that a library starts."""
    named = os.environ.get(variable, "") or os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() else os.cpu_count() or 1
