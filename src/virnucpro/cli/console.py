"""What the command line prints, and how it ends."""

import os
import sys
from typing import NoReturn

import typer

from virnucpro.errors import one_line, printable_lines

#: Exit statuses.
FAILED, SOME_NOT_PROCESSED, STOPPED, TERMINATED = 1, 3, 130, 143


def say(text: object, *, err: bool = False, end: str = "\n") -> None:
    """Print text; characters that cannot be printed are escaped.

    Args:
        text: one or several lines.
        err: whether to print to standard error.
        end: printed after the text.
    """
    typer.echo(printable_lines(str(text)) + end, err=err, nl=False)


def note(text: str) -> None:
    """Print a note for the user to standard error, as one line."""
    say(f"note: {one_line(text)}", err=True)


def leave(status: int) -> NoReturn:
    """End the process at once, without waiting for threads that are computing a block."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
