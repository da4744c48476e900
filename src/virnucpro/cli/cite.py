"""`virnucpro cite`."""

from typing import Annotated

import typer

from virnucpro.cli.completion import words
from virnucpro.cli.say import say
from virnucpro.errors import SettingsError


def cite(
    file_format: Annotated[
        str,
        typer.Option("--format", help="text or bibtex.", autocompletion=words("text", "bibtex")),
    ] = "text",
) -> None:
    """Say what to cite in a paper that used this program."""
    from virnucpro.cli.citation import as_bibtex, as_text  # noqa: PLC0415

    if file_format not in ("text", "bibtex"):
        raise SettingsError(f"--format {file_format}: give text or bibtex")
    say(as_text() if file_format == "text" else as_bibtex(), end="")
