"""`virnucpro calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import completion
from virnucpro.cli import parameters as options
from virnucpro.cli.say import note, say
from virnucpro.system.directories import checked_out


def calibrate(
    run: Annotated[Path, typer.Argument(help="Output directory of a finished predict.")],
    labels: Annotated[
        list[Path],
        typer.Argument(
            metavar="LABELS...",
            help="Table with the columns record (or id), is_virus, and perhaps source; or sequence "
            "files named virus* and other*, or their directory.",
        ),
    ],
    bundle: Annotated[
        str,
        typer.Option(
            help="What the run was made with; its files are linked.",
            autocompletion=completion.bundles,
        ),
    ] = "compact",
    head: Annotated[
        Path | None, typer.Option(help="The head that the run was made with, if it had --head.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            parser=checked_out,
            metavar="DIRECTORY",
            help="Directory of the new bundle.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What predict --bundle takes the new bundle by.")
    ] = None,
    quiet: options.Quiet = False,
    _config: options.Config = None,
) -> None:
    """Fit on labelled records what scores mean, and make a bundle that says it."""
    from virnucpro.calibration.api import calibrate as fit  # noqa: PLC0415 (loads PyTorch)

    made = fit(
        run, labels, bundle=bundle, head=head, out=out, name=name,
        on_note=note,
    )  # fmt: skip
    calibration = made.manifest.calibration
    if calibration is None:
        raise ValueError(f"{made.path} has no calibration")
    if quiet:
        return
    found = calibration.metrics
    say(f"{found['records']:,.0f} records of {found['sources']:,.0f} sources")
    say(f"expected calibration error: {found['ece_before']:.4f} before, {found['ece']:.4f}")
    say(f"log loss: {found['log_loss_before']:.4f} before, {found['log_loss']:.4f}")
    say(calibration.data)
    say(f"virnucpro predict --bundle {name or made.path} takes it now ({made.path})")
