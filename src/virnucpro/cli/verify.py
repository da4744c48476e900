"""`virnucpro models verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virnucpro.cli import completion, parameters
from virnucpro.cli.console import FAILED, say

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from virnucpro.verification.verification_report import Comparison, VerificationReport

#: Columns of the table where no terminal says how wide it is.
_FILE_WIDTH = 130


def verify(
    name: Annotated[
        str,
        typer.Argument(
            help="virnucpro-500, virnucpro-300, or an encoder: esm2_t36_3B_UR50D, "
            "esm2_t6_8M_UR50D, dnabert-s, virnucpro-500:protein.",
            autocompletion=completion.everything,
        ),
    ],
    device: parameters.OneDevice = "auto",
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, bf16, fp16, fp8, int8 or int4; can be repeated (default: all that the "
            "device supports).",
            autocompletion=completion.words("fp32", "bf16", "fp16", "fp8", "int8", "int4"),
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write all figures to this file.")] = None,
    quiet: parameters.Quiet = False,
) -> None:
    """Recompute published outputs of the networks for some sequences, and compare.

    The exit status is 0 if all outputs are as published, else 1.
    """
    from virnucpro.files import check_place, write_json  # noqa: PLC0415
    from virnucpro.system.terminal import Terminal  # noqa: PLC0415 (Rich, which --help does without)
    from virnucpro.verification import verify as compare  # noqa: PLC0415 (loads PyTorch)

    if json is not None:
        check_place(json)
    console = Terminal(_FILE_WIDTH, soft_wrap=True, quiet=quiet)
    progress = Terminal(stderr=True, quiet=quiet)
    report = compare(
        name,
        device=device,
        precisions=precision or (),
        on_progress=lambda line: progress.print(f"verifying {line}"),
    )
    if json is not None:
        write_json(json, report)
    console.print(f"{report.name} on {report.device}; PyTorch {report.torch}")
    for note in report.notes:
        console.print(note)
    if report.comparisons:
        console.print(_table(report))
    for skipped in report.skipped:
        console.print(f"{skipped.precision}: skipped: {skipped.reason}")
    console.print(report.verdict)
    if not report.is_as_published:
        if quiet:
            say(report.verdict, err=True)
        raise typer.Exit(FAILED)


def _table(report: "VerificationReport") -> "Table":
    from rich.table import Table  # noqa: PLC0415

    table = Table()
    for name in (
        "precision", "compared", "cosine", "largest difference", "relative error", "calls", "",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name in ("precision", "compared", "") else "right")
    for row in report.comparisons:
        table.add_row(*_cells(row))
    return table


def _cells(row: "Comparison") -> "tuple[str | Text, ...]":
    from rich.text import Text  # noqa: PLC0415

    return (
        row.precision,
        row.what,
        "" if row.cosine is None else f"{row.cosine:.6f}",
        f"{row.largest_difference:.2g}",
        f"{row.relative_error:.2g}",
        "" if row.labels is None else f"{row.labels_agreeing} of {row.labels}",
        Text("fail", style="red") if row.fault else Text("pass", style="green"),
    )
