"""`virnucpro bench`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virnucpro.cli import completion, parameters

if TYPE_CHECKING:
    from rich.table import Table

    from virnucpro.bench.figures import BenchReport, PrecisionReport

#: Width of the table in columns if the output is not a terminal.
_FILE_WIDTH = 110


def bench(
    sizes: Annotated[
        str | None,
        typer.Option(
            help="3b (the published encoders), the name of a bundle, or a bundle's directory "
            "(default: 3b on a GPU, compact-pair on a CPU)."
        ),
    ] = None,
    device: parameters.OneDevice = "auto",
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, bf16, fp16 or fp8; can be repeated (default: all that are fast here).",
            autocompletion=completion.words("fp32", "bf16", "fp16", "fp8"),
        ),
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(help="150 bp, 300 bp, 500 bp or mixed; can be repeated (default: all)."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds for each measurement.", min=0.01)] = 3.0,
    json: Annotated[Path | None, typer.Option(help="Also write all figures to this file.")] = None,
    quiet: parameters.Quiet = False,
) -> None:
    """Measure the speed of this machine with random weights."""
    from virnucpro.bench import bench as measure  # noqa: PLC0415 (loads PyTorch)
    from virnucpro.files import check_place, write_json  # noqa: PLC0415
    from virnucpro.prediction.worker import Worker  # noqa: PLC0415
    from virnucpro.system.terminal import Terminal  # noqa: PLC0415 (Rich, which --help does without)

    if json is not None:
        check_place(json)
    console = Terminal(_FILE_WIDTH, soft_wrap=True, quiet=quiet)
    progress = Terminal(stderr=True, quiet=quiet)

    def show(report: "BenchReport") -> None:
        if json is not None:
            write_json(json, report)
        found = report.precisions[-1]
        if len(report.precisions) == 1:
            console.print(
                f"{report.sizes}, random weights, on {report.device}; PyTorch {report.torch}, "
                f"budgets {report.budgets['protein']:,} and {report.budgets['dna']:,} tokens"
            )
        for note in found.notes:
            console.print(f"{found.precision}, {note}")
        console.print(_table(found))
        console.print(f"peak memory {found.peak_memory_bytes / 2**30:.2f} GiB\n")

    measure(
        Worker,
        sizes,
        device=device,
        precisions=precision or (),
        samples=sample or (),
        seconds=seconds,
        on_progress=lambda line: progress.print(f"measuring {line}"),
        on_measured=show,
    )


def _table(found: "PrecisionReport") -> "Table":
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=found.precision, title_justify="left")
    for name in (
        "reads", "protein tokens/s", "share of floor", "DNA sequences/s", "frames/s",
        "share of encoders", "hours a million reads",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name == "reads" else "right")
    for protein, dna, worker in zip(found.protein, found.dna, found.worker, strict=True):
        table.add_row(
            protein.sample,
            f"{protein.tokens_per_second:,.0f}",
            f"{protein.share_of_floor:.3f}",
            f"{dna.sequences_per_second:,.0f}",
            f"{worker.frames_per_second:,.0f}",
            f"{worker.share_of_encoders:.3f}",
            f"{worker.hours_for_a_million_reads:.3f}",
        )
    return table
