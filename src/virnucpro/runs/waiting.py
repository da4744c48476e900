"""Waits for other processes and machines: they are said after a while and end after a long one."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virnucpro.errors import RunError, SettingsError

#: Seconds until a wait is said, and until it is said again.
_FIRST, _AGAIN = 5.0, 60.0
#: The variable with the seconds that a wait may take, and its default.
_VARIABLE, _MOST = "VIRNUCPRO_WAIT", 3600.0


class Wait:
    """A wait in which one looks again and again, as for another process.

    Args:
        what: names what does not come.
        noted: takes a line for the user.

    Raises:
        SettingsError: when the variable is no number of seconds.
    """

    def __init__(self, what: str, noted: Callable[[str], None] = lambda _: None) -> None:
        self._what, self._noted, self._most = what, noted, most_seconds()
        self.begin()

    def begin(self) -> None:
        """Count from now: something has come."""
        self._started, self._said_at = time.monotonic(), _FIRST

    def look(self) -> None:
        """Say what is awaited if it takes long.

        Raises:
            RunError: when it has taken too long.
        """
        seconds = time.monotonic() - self._started
        if seconds > self._most:
            raise RunError(
                f"waited {self._most:g} s for {self._what}; see whether that still runs, then "
                f"repeat the command ({_VARIABLE} sets the seconds)"
            )
        if seconds > self._said_at:
            self._said_at = seconds + _AGAIN
            self._noted(_line(self._what, seconds))


@contextmanager
def announced(noted: Callable[[str], None], what: Callable[[], str]) -> Iterator[None]:
    """Say what the body waits for if it takes long; a thread does, since the body cannot.

    Args:
        noted: takes a line for the user.
        what: names what is awaited at the moment.
    """
    over = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        pause = _FIRST
        while not over.wait(pause):
            noted(_line(what(), time.monotonic() - started))
            pause = _AGAIN

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _line(what: str, seconds: float) -> str:
    return f"waiting for {what} ({seconds:.0f} s so far)"


def most_seconds() -> float:
    """Return how many seconds a wait may take."""
    given = os.environ.get(_VARIABLE) or _MOST
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise SettingsError(f"{_VARIABLE}={given}: give seconds, as 600")
    return seconds
