"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[
    Path, typer.Option("-o", "--out", help="Output directory, new or of the same command before.")
]
Frames = Annotated[
    str | None, typer.Option(help="open, segments or whole; by default what the bundle says.")
]
ChunkLength = Annotated[
    int | None, typer.Option(help="Bases of a chunk; by default what the bundle says.")
]
Device = Annotated[
    str,
    typer.Option(help="auto (all GPUs, else the CPU), cuda, or a list: cuda:0,cuda:1 or cpu,cpu."),
]
Precision = Annotated[
    str,
    typer.Option(help="auto (fp16 on a GPU, fp32 on a CPU), fp32, bf16, fp16, fp8, int8 or int4."),
]
Executor = Annotated[
    str,
    typer.Option(help="local, ray (a Ray cluster), or launched (by torchrun, accelerate, srun)."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say only what is wrong.")]
