"""`virnucpro predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from virnucpro.cli import completion, options
from virnucpro.cli.runs import carry_out

if TYPE_CHECKING:
    from virnucpro.jobs import Executor
    from virnucpro.results.paths import Outputs
    from virnucpro.results.summary import Summary
    from virnucpro.sequences.frames import FrameKind


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="FASTA or FASTQ, plain or gz, bz2, xz, zst, by content; - for standard input.",
        ),
    ],
    out: options.Out,
    bundle: Annotated[
        str,
        typer.Option(
            help="Name of a bundle (compact), or a bundle's directory.",
            autocompletion=completion.bundles,
        ),
    ] = "compact",
    head: Annotated[
        Path | None,
        typer.Option(help="A head to use with the bundle's encoders, as 500_model.pth."),
    ] = None,
    chunk_length: options.ChunkLength = None,
    frames: options.Frames = None,
    prevalence: Annotated[
        str | None,
        typer.Option(
            help="Share of viruses to expect among scored records, as 0.01, or auto to estimate "
            "it; needs a calibrated bundle."
        ),
    ] = None,
    max_fdr: Annotated[
        float | None,
        typer.Option(
            help="Call virus up to this share of false viruses, as 0.05, in place of the bundle's "
            "threshold; needs a calibrated bundle."
        ),
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Also write the original VirNucPro's two files.")
    ] = False,
    compressed: Annotated[
        bool, typer.Option("--gzip", help="Compress tables and sequences.")
    ] = False,
    block_chunks: Annotated[
        int, typer.Option(help="Chunks between two points from which a run can continue.")
    ] = 2048,
    executor: options.Executor = "local",
    quiet: options.Quiet = False,
    _config: options.Config = None,
) -> None:
    """Say which records are viral."""
    from virnucpro import api  # noqa: PLC0415 (loads PyTorch, which --help does without)
    from virnucpro.results.paths import Outputs  # noqa: PLC0415

    carry_out(
        lambda observer: api.predict(
            inputs,
            out,
            bundle=bundle,
            head=head,
            chunk_length=chunk_length,
            frames=cast("FrameKind | None", frames),
            prevalence=_share(prevalence),
            max_fdr=max_fdr,
            device=device,
            precision=precision,
            legacy=legacy,
            compressed=compressed,
            block_chunks=block_chunks,
            executor=cast("Executor", executor),
            observer=observer,
        ),
        lambda summary: _told(
            summary, Outputs(out, legacy, compressed), has_prevalence=prevalence is not None
        ),
        lambda summary: summary.unscored["not processed"],
        out,
        executor=executor,
        quiet=quiet,
    )


def _share(text: str | None) -> 'float | Literal["auto"] | None':
    if text is None or text == "auto":
        return cast('Literal["auto"] | None', text)
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text}: give a share such as 0.01, or auto", param_hint="--prevalence"
        ) from error


def _told(summary: "Summary", outputs: "Outputs", *, has_prevalence: bool) -> str:
    calls, unscored = summary.calls, summary.unscored
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in unscored.items() if count)
    return (
        f"{summary.records:,} records: {calls['virus']:,} virus, {calls['other']:,} other, "
        f"{calls['unscored']:,} unscored{f' ({reasons})' if reasons else ''}; "
        f"{summary.records_per_second:,.0f} records/s\n"
        f"{_expected(summary, has_prevalence=has_prevalence)}"
        f"look first at {outputs.path('records')} (calls and how sure they are) and "
        f"{outputs.path('viral')}\n"
        f"again: virnucpro predict --config {outputs.path('config')}\n"
        f"for a paper ({outputs.path('methods')}; virnucpro cite names references):\n"
        f"  {outputs.path('methods').read_text().strip()}"
    )


def _expected(summary: "Summary", *, has_prevalence: bool) -> str:
    """Say what probabilities say of all records; nothing without a calibration."""
    if summary.records_expected_viral is None:
        return ""
    if has_prevalence:
        what = f"for a prevalence of {summary.prevalence:.2%}"
    else:
        what = (
            f"if probabilities are for samples with {summary.prevalence:.0%} viruses; "
            "--prevalence takes the share that you expect, or auto to estimate it"
        )
    return f"{summary.records_expected_viral:,.0f} viruses expected {what}\n"
