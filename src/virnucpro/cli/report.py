"""`virnucpro report`."""

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import parameters
from virnucpro.cli.console import say
from virnucpro.system.directories import checked_out


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Output directories of virnucpro predict, or of a sample sheet.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            parser=checked_out,
            metavar="FILE",
            help="Page to write (default: report.html in the directory, if there is only one).",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Directory of the bundle for its card, if it cannot be found by name."),
    ] = None,
    quiet: parameters.Quiet = False,
) -> None:
    """Draw the report of a finished run, or compare several."""
    from virnucpro.prediction.report import api as reporting  # noqa: PLC0415 (loads PyTorch, which --help does without)

    page = reporting.report(runs, out, bundle=bundle)
    if not quiet:
        say(f"wrote {page}", err=True)
