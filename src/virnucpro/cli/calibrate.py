"""`virnucpro calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import completion, parameters
from virnucpro.cli.console import note, say


def calibrate(
    run: Annotated[Path, typer.Argument(help="Output directory of a finished run of predict.")],
    labels: parameters.Labels,
    bundle: Annotated[
        str,
        typer.Option(
            help="Bundle of the run; its files are linked.",
            autocompletion=completion.bundles,
        ),
    ] = "compact",
    head: Annotated[
        Path | None, typer.Option(help="Head of the run, if it was made with --head.")
    ] = None,
    out: Annotated[Path | None, parameters.out_option("Directory of the new bundle.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the new bundle, for predict --bundle.")
    ] = None,
    quiet: parameters.Quiet = False,
    _config: parameters.Config = None,
) -> None:
    """Fit probabilities to labelled records, and make a bundle with them."""
    from virnucpro.calibration.api import calibrate as fit  # noqa: PLC0415 (loads PyTorch)

    made = fit(run, labels, bundle=bundle, head=head, out=out, name=name, on_note=note)
    calibration = made.manifest.calibration
    if calibration is None:
        raise ValueError(f"{made.path} has no calibration")
    if quiet:
        return
    found = calibration.metrics
    say(f"{found['records']:,.0f} records of {found['sources']:,.0f} sources")
    say(f"expected calibration error: {found['ece_before']:.4f} before, {found['ece']:.4f} after")
    say(f"log loss: {found['log_loss_before']:.4f} before, {found['log_loss']:.4f} after")
    say(calibration.data)
    say(f"virnucpro predict --bundle {name or made.path} uses it ({made.path})")
