"""`virnucpro schema`."""

from importlib.resources import files
from typing import Annotated

import typer

from virnucpro.cli.console import say

#: Name -> file in the folder `schemas/`.
_FILES = {
    "tables": "tables.json",
    "summary": "summary.schema.json",
    "run": "run.schema.json",
    "embed-summary": "embed-summary.schema.json",
}
_NAMES = ", ".join(_FILES)


def schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {_NAMES}.")],
) -> None:
    """Print the schema of an output file, for programs that check it.

    Tables are described by a Frictionless Data Package, other files by JSON Schemas.
    """
    if name not in _FILES:
        raise typer.BadParameter(f"{name}: give one of {_NAMES}", param_hint="NAME")
    folder = files("virnucpro.cli") / "schemas"
    say((folder / _FILES[name]).read_text(encoding="utf-8"), end="")
