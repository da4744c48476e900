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
            help="Output directories of virnucpro predict, or a directory of them.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            parser=checked_out,
            metavar="FILE",
            help="The page; by default report.html of the one run.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Where the bundle lies whose card is shown, if not known by name."),
    ] = None,
    quiet: parameters.Quiet = False,
) -> None:
    """Draw the report of a finished run, or compare several."""
    from virnucpro.prediction.report import api as reporting  # noqa: PLC0415 (loads PyTorch, which --help does without)

    page = reporting.report(runs, out, bundle=bundle)
    if not quiet:
        say(f"wrote {page}", err=True)
