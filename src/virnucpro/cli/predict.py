"""`virnucpro predict`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from virnucpro.cli import completion, parameters
from virnucpro.cli.running import run_and_report

if TYPE_CHECKING:
    from virnucpro.prediction.outputs.paths import ReadFormat
    from virnucpro.runs.job import Executor
    from virnucpro.sequences.frames import FrameKind


def predict(
    out: parameters.Out,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="FASTA, FASTQ or BAM files, plain or gz, bz2, xz, zst; - for standard input.",
            show_default=False,
        ),
    ] = None,
    reads_1: Annotated[
        list[str] | None,
        typer.Option(
            "-1", "--reads-1", help="File of mates 1 of pairs; can be repeated, as can -2."
        ),
    ] = None,
    reads_2: Annotated[
        list[str] | None,
        typer.Option("-2", "--reads-2", help="File of mates 2, in the same order as -1."),
    ] = None,
    interleaved: Annotated[
        bool,
        typer.Option(
            "--interleaved", help="INPUT holds the two mates of each pair one after the other."
        ),
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="SHEET",
            help="CSV or TSV with the columns sample and files, instead of INPUT. Each sample "
            "becomes a run in OUT/SAMPLE; the weights are loaded once.",
        ),
    ] = None,
    bundle: Annotated[
        str,
        typer.Option(
            help="Name or directory of a bundle.",
            autocompletion=completion.bundles,
        ),
    ] = "compact",
    head: Annotated[
        Path | None,
        typer.Option(help="Head to use with the encoders of the bundle (500_model.pth)."),
    ] = None,
    chunk_length: parameters.ChunkLength = None,
    frames: parameters.Frames = None,
    prevalence: Annotated[
        str | None,
        typer.Option(
            help="Expected share of viruses among the scored records, for example 0.01 "
            "(default: auto, estimated from the scores). Needs a calibrated bundle."
        ),
    ] = None,
    max_fdr: Annotated[
        float | None,
        typer.Option(
            help="Call records virus up to this expected share of false viruses, for example "
            "0.05, instead of by the threshold of the bundle. Needs a calibrated bundle."
        ),
    ] = None,
    device: parameters.Device = "auto",
    precision: parameters.Precision = "auto",
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Also write the two files of the original VirNucPro.")
    ] = False,
    write: Annotated[
        list[str] | None,
        typer.Option(
            help="Write the reads of records with this call: virus, other or unscored; can be "
            "repeated (default: virus)."
        ),
    ] = None,
    reads: Annotated[str, typer.Option(help="Format of these reads: fasta or fastq.")] = "fasta",
    bam: Annotated[
        bool, typer.Option("--bam", help="Also write all reads as BAM, with their calls in tags.")
    ] = False,
    compressed: Annotated[
        bool, typer.Option("--gzip", help="Compress tables and sequences.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Draw report.html at the end.")
    ] = True,
    block_chunks: Annotated[
        int,
        typer.Option(help="Maximum number of chunks of a block, the unit of work and of resuming."),
    ] = 2048,
    executor: parameters.Executor = "local",
    quiet: parameters.Quiet = False,
    _config: parameters.Config = None,
) -> None:
    """Predict which records are viral."""
    pairs = _pairs(reads_1 or [], reads_2 or [])
    if bool(pairs or inputs) == bool(samples):
        raise typer.BadParameter(
            "give files, pairs with -1 and -2, or a sheet with --samples", param_hint="INPUT"
        )
    from virnucpro.cli.final_message import final_message  # noqa: PLC0415
    from virnucpro.prediction.api import predict as predict_one  # noqa: PLC0415 (loads PyTorch)
    from virnucpro.prediction.options import PredictKeywords  # noqa: PLC0415
    from virnucpro.prediction.outputs.paths import Outputs  # noqa: PLC0415
    from virnucpro.prediction.samples import predict_samples  # noqa: PLC0415

    options = PredictKeywords(
        interleaved=interleaved,
        bundle=bundle,
        head=head,
        chunk_length=chunk_length,
        frames=cast("FrameKind | None", frames),
        prevalence=_share(prevalence),
        max_fdr=max_fdr,
        device=device,
        precision=precision,
        legacy=legacy,
        write=write or ("virus",),
        reads=cast("ReadFormat", reads),
        bam=bam,
        compressed=compressed,
        report=report,
        block_chunks=block_chunks,
        executor=cast("Executor", executor),
    )
    one = partial(predict_one, inputs or [], mates=pairs)
    run = partial(predict_samples, samples) if samples else one
    run_and_report(
        lambda observer: run(out, observer=observer, **options),
        lambda summary: final_message(summary, Outputs(out, legacy, compressed, report=report)),
        lambda summary: summary.unscored["not processed"],
        out / "SAMPLE" if samples else out,
        executor=executor,
        quiet=quiet,
    )


def _pairs(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    if len(first) != len(second):
        raise typer.BadParameter(
            f"{len(first)} files of mates 1 and {len(second)} of mates 2; give both of each pair",
            param_hint="-1 and -2",
        )
    return list(zip(first, second, strict=True))


def _share(text: str | None) -> 'float | Literal["auto"] | None':
    if text is None or text == "auto":
        return cast('Literal["auto"] | None', text)
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text}: give a share such as 0.01, or auto", param_hint="--prevalence"
        ) from error
