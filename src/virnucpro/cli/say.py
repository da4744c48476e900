"""The way to a terminal for plain lines: what cannot be printed is escaped."""

import typer

from virnucpro.errors import one_line, printable_lines


def say(text: object, *, err: bool = False, end: str = "\n") -> None:
    """Print lines.

    Args:
        text: one or several.
        err: whether to print to standard error.
        end: what follows.
    """
    typer.echo(printable_lines(str(text)) + end, err=err, nl=False)


def note(text: str) -> None:
    """Print what the user should know to standard error; long ids in it are shortened."""
    say(f"note: {one_line(text)}", err=True)
