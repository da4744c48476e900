"""Waits for other processes and machines: reported after a while, ended after a long time."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virnucpro.errors import RunError, SettingsError

#: Seconds until a wait is reported, and until it is reported again.
_FIRST, _AGAIN = 5.0, 60.0
#: Environment variable with the longest wait in seconds, and its default.
_VARIABLE, _MOST = "VIRNUCPRO_WAIT", 3600.0


class Wait:
    """A wait that polls, for example for another process.

    Args:
        what: names what is awaited.
        notify: takes a line for the user.

    Raises:
        SettingsError: the environment variable is not a number of seconds.
    """

    def __init__(self, what: str, notify: Callable[[str], None] = lambda _: None) -> None:
        self._what, self._notify, self._most = what, notify, most_seconds()
        self.begin()

    def begin(self) -> None:
        """Restart the clock, because something has arrived."""
        self._started, self._report_at = time.monotonic(), _FIRST

    def look(self) -> None:
        """Report a long wait to the user.

        Raises:
            RunError: the wait has taken too long.
        """
        seconds = time.monotonic() - self._started
        if seconds > self._most:
            raise RunError(
                f"waited {self._most:g} s for {self._what}; check whether it is still running, "
                f"then rerun to resume ({_VARIABLE} sets the longest wait in seconds)"
            )
        if seconds > self._report_at:
            self._report_at = seconds + _AGAIN
            self._notify(_line(self._what, seconds))


@contextmanager
def announced(notify: Callable[[str], None], what: Callable[[], str]) -> Iterator[None]:
    """Report a long wait of the body from a thread, because the body itself is blocked.

    Args:
        notify: takes a line for the user.
        what: names what is currently awaited.
    """
    over = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        pause = _FIRST
        while not over.wait(pause):
            notify(_line(what(), time.monotonic() - started))
            pause = _AGAIN

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _line(what: str, seconds: float) -> str:
    return f"waiting for {what} ({seconds:.0f} s so far)"


def most_seconds() -> float:
    """Return the longest wait in seconds."""
    given = os.environ.get(_VARIABLE) or _MOST
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise SettingsError(f"{_VARIABLE}={given}: give a number of seconds, for example 600")
    return seconds
