"""`virnucpro predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from virnucpro.cli import options
from virnucpro.cli.runs import carry_out

if TYPE_CHECKING:
    from virnucpro.jobs import Executor
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
        str, typer.Option(help="Name of a bundle (compact), or a bundle's directory.")
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
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Draw report.html at the end.")
    ] = True,
    block_chunks: Annotated[
        int, typer.Option(help="Chunks between two points from which a run can continue.")
    ] = 2048,
    executor: options.Executor = "local",
    quiet: options.Quiet = False,
) -> None:
    """Say which records are viral."""
    from virnucpro import api  # noqa: PLC0415 (loads PyTorch, which --help does without)

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
            report=report,
            block_chunks=block_chunks,
            executor=cast("Executor", executor),
            observer=observer,
        ),
        _told,
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


def _told(summary: "Summary") -> str:
    calls, unscored = summary.calls, summary.unscored
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in unscored.items() if count)
    expected = ""
    if summary.records_expected_viral is not None:
        expected = (
            f"{summary.records_expected_viral:,.0f} viruses expected "
            f"(prevalence {summary.prevalence:.2%}); "
        )
    return (
        f"{summary.records:,} records: {calls['virus']:,} virus, {calls['other']:,} other, "
        f"{calls['unscored']:,} unscored{f' ({reasons})' if reasons else ''}; {expected}"
        f"{summary.records_per_second:,.0f} records/s"
    )
