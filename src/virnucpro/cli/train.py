"""`virnucpro train`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from virnucpro.cli import completion, parameters
from virnucpro.cli.console import note, say
from virnucpro.cli.running import run_with_progress

if TYPE_CHECKING:
    from virnucpro.runs.job import Executor, Observer
    from virnucpro.sequences.frames import FrameKind
    from virnucpro.training.groups import Grouping
    from virnucpro.training.heads import Epoch


def train(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="FASTA, FASTQ or GenBank files named virus* and other*, their directory, or "
            "CLASS=FILE; with --labels, files of any name.",
        ),
    ],
    out: parameters.Out,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Table with the columns record (or id), is_virus or class, and optionally source "
            "(the genome).",
        ),
    ] = None,
    encoders: Annotated[
        str,
        typer.Option(
            help="Bundle that provides the encoders, or two encoders: esmc-300m+dnabert-s.",
            autocompletion=completion.bundles,
        ),
    ] = "compact",
    chunk_length: parameters.ChunkLength = None,
    frames: parameters.Frames = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Training recipe: default, or original (that of the original VirNucPro).",
            autocompletion=completion.words("default", "original"),
        ),
    ] = "default",
    end_to_end: Annotated[
        bool,
        typer.Option("--end-to-end", help="Train the whole network of compact, not only a head."),
    ] = False,
    steps: Annotated[
        int | None, typer.Option(help="Training steps with --end-to-end (default: 400).")
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            help="Unit never split between training and held-out data: clusters (of similar "
            "records), genome or record.",
            autocompletion=completion.words("clusters", "genome", "record"),
        ),
    ] = "clusters",
    dev_share: Annotated[float, typer.Option(help="Share of the bases to hold out.")] = 0.1,
    coding_only: Annotated[
        bool,
        typer.Option(
            "--coding-only", help="Use only frames in annotated coding sequences (GenBank)."
        ),
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "trained",
    seed: Annotated[
        int, typer.Option(help="Random seed of the split, the weights and the order.")
    ] = 1,
    device: parameters.Device = "auto",
    precision: parameters.Precision = "auto",
    executor: Annotated[
        str,
        typer.Option(
            help="Where workers run: local or ray.", autocompletion=completion.words("local", "ray")
        ),
    ] = "local",
    quiet: parameters.Quiet = False,
    _config: parameters.Config = None,
) -> None:
    """Train a head on labelled sequences and write a bundle."""
    from virnucpro.training import api as fitting  # noqa: PLC0415 (loads PyTorch, which --help does without)
    from virnucpro.training.output_directory import BUNDLE  # noqa: PLC0415
    from virnucpro.training.tuning import Tuning  # noqa: PLC0415

    if steps is not None and not end_to_end:
        raise typer.BadParameter("--steps needs --end-to-end")
    tuning = replace(Tuning(seed=seed), **({} if steps is None else {"steps": steps}))

    def inform(line: str) -> None:
        if not quiet:
            say(line, err=True)

    def report_epoch(epoch: "Epoch") -> None:
        inform(
            f"epoch {epoch.number}: loss {epoch.train_loss:.4f}, held out {epoch.dev_loss:.4f}, "
            f"AUROC {epoch.dev_auroc:.4f}"
        )

    def run(observer: "Observer") -> None:
        report = fitting.train(
            inputs,
            out,
            labels=labels,
            encoders=encoders,
            chunk_length=chunk_length,
            frames=cast("FrameKind | None", frames),
            recipe=tuning if end_to_end else recipe,
            group=cast("Grouping", group),
            dev_share=dev_share,
            coding_only=coding_only,
            name=name,
            seed=seed,
            device=device,
            precision=precision,
            executor=cast("Executor", executor),
            observer=observer,
            on_note=note,
            on_epoch=report_epoch,
        )
        dev = report.metrics["dev"]
        inform(
            f"kept epoch {report.best}: AUROC of held-out chunks {dev['auroc']:.4f}, recall at "
            f"5 % false positives {dev['recall at 5 % false positives']:.3f}"
        )
        inform(f"use it with virnucpro predict --bundle {out / BUNDLE}")

    run_with_progress(run, executor=executor, quiet=quiet)
