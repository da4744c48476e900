"""`virnucpro embed`."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from virnucpro.cli import completion, parameters
from virnucpro.cli.running import run_and_report

if TYPE_CHECKING:
    from virnucpro.embedding.outputs import EmbeddingSummary
    from virnucpro.encoders.pooling import Pooling
    from virnucpro.runs.job import Executor


def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="FASTA or FASTQ of proteins or DNA, plain or compressed; - for standard input.",
        ),
    ],
    out: parameters.Out,
    model: Annotated[
        str,
        typer.Option(
            help="Encoder: esm2_t33_650M_UR50D, dnabert-s, compact-pair:protein, ...",
            autocompletion=completion.models,
        ),
    ],
    layer: Annotated[
        int | None, typer.Option(help="Layer to read, counted from 1 (default: last).")
    ] = None,
    pooling: Annotated[
        str,
        typer.Option(
            help="Vectors of a record: mean, cls, or tokens (one per residue or byte pair).",
            autocompletion=completion.words("mean", "cls", "tokens"),
        ),
    ] = "mean",
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="File format: parquet, hdf5, npz or safetensors.",
            autocompletion=completion.words("parquet", "hdf5", "npz", "safetensors"),
        ),
    ] = "parquet",
    dtype: Annotated[
        str,
        typer.Option(
            help="Type of the numbers written: fp32 or fp16.",
            autocompletion=completion.words("fp32", "fp16"),
        ),
    ] = "fp32",
    device: parameters.Device = "auto",
    precision: parameters.Precision = "auto",
    executor: parameters.Executor = "local",
    quiet: parameters.Quiet = False,
    _config: parameters.Config = None,
) -> None:
    """Embed proteins or DNA with an encoder and write the vectors."""
    from virnucpro.embedding import api as embedding  # noqa: PLC0415 (loads PyTorch, which --help does without)

    run_and_report(
        lambda observer: embedding.embed(
            inputs,
            out,
            model=model,
            layer=layer,
            pooling=cast("Pooling", pooling),
            file_format=file_format,
            dtype=dtype,
            device=device,
            precision=precision,
            executor=cast("Executor", executor),
            observer=observer,
        ),
        _final_message,
        lambda summary: summary.records - summary.embedded,
        out,
        executor=executor,
        quiet=quiet,
    )


def _final_message(summary: "EmbeddingSummary") -> str:
    return (
        f"{summary.embedded:,} of {summary.records:,} records embedded, {summary.width:,} numbers "
        f"per vector; {summary.records_per_second:,.0f} records/s, "
        f"{summary.tokens_per_second:,.0f} tokens/s"
    )
