"""`virnucpro predict`."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, cast

import typer

from virnucpro.cli.exits import SOME_NOT_PROCESSED, STOPPED, TERMINATED, leave

if TYPE_CHECKING:
    from virnucpro.jobs import Executor
    from virnucpro.results.summary import Summary

#: Records named on the terminal that could not be processed; summary.json lists more.
_PROBLEMS_SHOWN = 10


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="FASTA or FASTQ, plain or gz, bz2, xz, zst, by content; - for standard input.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Output directory, new or of the same command before."),
    ],
    bundle: Annotated[
        str, typer.Option(help="Name of a bundle (compact), or a bundle's directory.")
    ] = "compact",
    chunk_length: Annotated[
        int | None, typer.Option(help="Bases of a chunk; by default what the bundle says.")
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="How frames are drawn: open; by default what the bundle says."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="auto (all GPUs, else the CPU), cuda, or a list: cuda:0,cuda:1 or cpu,cpu."
        ),
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (fp16 on a GPU, fp32 on a CPU), fp32, bf16, fp16 or fp8.")
    ] = "auto",
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Also write the original VirNucPro's two files.")
    ] = False,
    compressed: Annotated[
        bool, typer.Option("--gzip", help="Compress tables and sequences.")
    ] = False,
    block_chunks: Annotated[
        int, typer.Option(help="Chunks between two points from which a run can continue.")
    ] = 2048,
    executor: Annotated[
        str,
        typer.Option(
            help="local, ray (a Ray cluster), or launched (by torchrun, accelerate, srun)."
        ),
    ] = "local",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say only what is wrong.")] = False,
) -> None:
    """Say which records are viral."""
    from virnucpro import api  # noqa: PLC0415 (loads PyTorch, which --help does without)
    from virnucpro.engine.executors.launched import Rank  # noqa: PLC0415
    from virnucpro.telemetry import Reporter  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _terminate)
    is_first = executor != "launched" or Rank.here().index == 0
    quiet = quiet or not is_first
    reporter = Reporter(quiet=quiet)
    try:
        summary = api.predict(
            inputs,
            out,
            bundle=bundle,
            chunk_length=chunk_length,
            frames=cast("Literal['open'] | None", frames),
            device=device,
            precision=precision,
            legacy=legacy,
            compressed=compressed,
            block_chunks=block_chunks,
            executor=cast("Executor", executor),
            observer=reporter,
        )
    except KeyboardInterrupt as stop:
        reporter.close()
        typer.echo("virnucpro: stopped; the same command continues the run", err=True)
        leave(TERMINATED if isinstance(stop, _Terminated) else STOPPED)
    finally:
        reporter.close()
    if not quiet:
        typer.echo(_told(summary), err=True)
    if summary.problems and is_first:
        _list_problems(summary, out)
    if summary.problems:
        raise typer.Exit(SOME_NOT_PROCESSED)


class _Terminated(KeyboardInterrupt):
    """SIGTERM came, as from Slurm; answered as a stop from the keyboard."""


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise _Terminated


def _told(summary: "Summary") -> str:
    calls, unscored = summary.calls, summary.unscored
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in unscored.items() if count)
    return (
        f"{summary.records:,} records: {calls['virus']:,} virus, {calls['other']:,} other, "
        f"{calls['unscored']:,} unscored{f' ({reasons})' if reasons else ''}; "
        f"{summary.records_per_second:,.0f} records/s"
    )


def _list_problems(summary: "Summary", out: Path) -> None:
    for problem in summary.problems[:_PROBLEMS_SHOWN]:
        typer.echo(f"virnucpro: not processed: {problem}", err=True)
    count = summary.unscored["not processed"]
    if count > _PROBLEMS_SHOWN:
        typer.echo(
            f"virnucpro: {count - _PROBLEMS_SHOWN:,} more not processed; see {out}/summary.json",
            err=True,
        )
