"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from virnucpro.cli.completion import words
from virnucpro.cli.option_sources import read_config
from virnucpro.system.directories import checked_out


def out_option(text: str) -> Any:  # noqa: ANN401 (typer's own type)
    """Return the option `--out` for a directory, with this help text."""
    return typer.Option("-o", "--out", parser=checked_out, metavar="DIRECTORY", help=text)


Out = Annotated[
    Path, out_option("Output directory: new, or of an earlier run of the same command.")
]
Labels = Annotated[
    list[Path],
    typer.Argument(
        metavar="LABELS...",
        help="Table with the columns record (or id), is_virus or class, and optionally source (the "
        "genome); or sequence files named virus* and other*, or their directory.",
    ),
]
Frames = Annotated[
    str | None,
    typer.Option(
        help="Frames to use: open, segments or whole (default: as in the bundle).",
        autocompletion=words("open", "segments", "whole"),
    ),
]
ChunkLength = Annotated[
    int | None, typer.Option(help="Bases of a chunk (default: as in the bundle).")
]
Device = Annotated[
    str,
    typer.Option(
        help="Devices: auto (all GPUs, or the CPU if there is none), cuda, or a list such as "
        "cuda:0,cuda:1 or cpu,cpu.",
        autocompletion=words("auto", "cpu", "cuda"),
    ),
]
OneDevice = Annotated[
    str,
    typer.Option(
        help="Device: auto, cpu, cuda or cuda:N.", autocompletion=words("auto", "cpu", "cuda")
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Precision: auto (fp16 on a GPU; on a CPU fp32, or int8 for compact), fp32, bf16, "
        "fp16, fp8, int8 or int4.",
        autocompletion=words("auto", "fp32", "bf16", "fp16", "fp8", "int8", "int4"),
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        help="Where workers run: local, ray (a Ray cluster), or launched (by torchrun, accelerate, "
        "srun).",
        autocompletion=words("local", "ray", "launched"),
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=read_config,
        is_eager=True,
        help="TOML file with values of these options, in a table named after the command.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print problems only.")]
