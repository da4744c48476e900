"""The public functions; each command of the command line is one of them."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from virnucpro.bundles import Manifest, load_bundle
from virnucpro.bundles.assemble import bundle_with_head
from virnucpro.engine.blocks import DEFAULT_BLOCK_CHUNKS
from virnucpro.engine.prediction import Prediction
from virnucpro.errors import SettingsError
from virnucpro.execution import execute
from virnucpro.inputs import checked_inputs
from virnucpro.jobs import Executor, Job, Observer
from virnucpro.reporting import show
from virnucpro.results.paths import Outputs
from virnucpro.results.probabilities import Calibrating
from virnucpro.results.summary import PredictionFiles, Summary
from virnucpro.sequences.frames import FrameKind

#: Below every p_virus. Which records --max-fdr calls is known at the end, so that the letters of
#: all that have a score are kept until then.
_ANY_SCORE = -1.0


def predict(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] = "compact",
    head: str | os.PathLike[str] | None = None,
    chunk_length: int | None = None,
    frames: FrameKind | None = None,
    prevalence: float | Literal["auto"] | None = None,
    max_fdr: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    legacy: bool = False,
    compressed: bool = False,
    report: bool = True,
    block_chunks: int = DEFAULT_BLOCK_CHUNKS,
    executor: Executor = "local",
    observer: Observer | None = None,
) -> Summary:
    """Say which records are viral, and write tables under `out`.

    The same call continues a run that was interrupted; once it is finished, it returns at once.

    Args:
        inputs: FASTA or FASTQ files, plain, gz, bz2, xz or zst; `-` for standard input.
        out: output directory: new, empty, or of an earlier attempt at the same call.
        bundle: name of a bundle, or its directory.
        head: a head to use with the bundle's encoders instead of its own, as `500_model.pth`.
        chunk_length: bases of a chunk; by default what the bundle says.
        frames: how frames are drawn; by default what the bundle says.
        prevalence: share of viruses among the scored records, which probabilities depend on;
            `auto` to estimate it from them; by default that of the bundle's calibration.
        max_fdr: call virus up to this expected share of false viruses, in place of the bundle's
            threshold.
        device: `auto` (all GPUs, else the CPU), `cuda` (all GPUs), or names parted by commas, as
            `cuda:0,cuda:1` or `cpu,cpu`; one worker each.
        precision: `auto` (fp16 where a GPU computes it fast, else fp32; weights in 8 or 4 bits
            where 16 do not fit its memory), `fp32`, `bf16`, `fp16`, `fp8`, `int8` or `int4`.
        legacy: also write the original VirNucPro's two files.
        compressed: compress tables and sequences with gzip.
        report: draw `report.html` at the end.
        block_chunks: most chunks of a block, the unit that an interruption loses.
        executor: `local`, `ray` (every device of a Ray cluster), or `launched` (one device of each
            process that torchrun, accelerate launch or srun started).
        observer: is told how the run goes, never by two threads at once.

    Returns:
        what `summary.json` holds.

    Raises:
        InputError: an input cannot be read as nucleotide FASTA or FASTQ.
        BundleError: the bundle is unknown, incomplete or damaged.
        RunError: `out` holds something else, or another run.
        SettingsError: a setting does not fit this machine or this bundle.
    """
    if head is not None:
        bundle = bundle_with_head(os.fspath(bundle), Path(head))
    loaded = load_bundle(bundle, is_checked=True)
    manifest = loaded.manifest
    length, notes = _chunk_length(manifest, chunk_length)
    drawn = manifest.drawn(frames)
    if drawn != manifest.frames:
        notes.append(f"{manifest.name} was trained for {manifest.frames} frames, not {drawn}")
    calibrating = _calibrating(manifest, prevalence, max_fdr)
    if calibrating:
        notes += _calibration_notes(calibrating, prevalence, length, drawn)
    if block_chunks < 1:
        raise SettingsError(f"--block-chunks {block_chunks}: give 1 or more")
    outputs = Outputs(Path(out), legacy, compressed, report)
    job = Job(
        command="predict",
        inputs=checked_inputs(inputs, "dna"),
        task=Prediction(
            os.fspath(bundle), loaded.sha256, length, drawn, block_chunks, precision,
            letters_above=None if max_fdr is None else _ANY_SCORE,
        ),
        product=PredictionFiles(outputs, manifest.thresholds.virus, calibrating),
        weights=f"{manifest.name} {manifest.version}",
        weights_sha256=loaded.sha256,
        check=loaded.check,
        settings={
            "chunk_length": length, "frames": drawn, "block_chunks": block_chunks,
            "legacy": legacy, "compressed": compressed,
            "prevalence": str(calibrating.prevalence or "auto") if calibrating else "none",
            "max_fdr": "none" if max_fdr is None else str(max_fdr),
        },
        how=f"chunks of {length} bp, {drawn} frames",
        notes=notes,
        show=partial(show, outputs, loaded),
    )  # fmt: skip
    return execute(job, device, executor, observer)


def _chunk_length(manifest: Manifest, asked_for: int | None) -> tuple[int, list[str]]:
    """Return the chunk length to use, and what the user should know of it."""
    length = manifest.chunk_lengths[0] if asked_for is None else asked_for
    if length < 3:
        raise SettingsError(f"--chunk-length {length}: give at least 3 bases, one codon")
    if length in manifest.chunk_lengths:
        return length, []
    known = ", ".join(map(str, manifest.chunk_lengths))
    return length, [f"{manifest.name} was trained for chunks of {known} bp, not {length}"]


def _calibrating(
    manifest: Manifest, prevalence: float | Literal["auto"] | None, max_fdr: float | None
) -> Calibrating | None:
    """Return how scores become probabilities; None where the bundle does not say it."""
    for option, share in (("--prevalence", prevalence), ("--max-fdr", max_fdr)):
        if share is None:
            continue
        if manifest.calibration is None:
            raise SettingsError(
                f"{option} {share}: {manifest.name} has no calibration; fit one with virnucpro "
                "calibrate, or leave it out"
            )
        if share != "auto" and not 0 < float(share) < 1:
            raise SettingsError(f"{option} {share}: give a share between 0 and 1, as 0.05")
    if manifest.calibration is None:
        return None
    known = manifest.calibration.prevalence if prevalence is None else prevalence
    return Calibrating(manifest.calibration, None if known == "auto" else float(known), max_fdr)


def _calibration_notes(
    calibrating: Calibrating,
    prevalence: float | Literal["auto"] | None,
    chunk_length: int,
    frames: FrameKind,
) -> list[str]:
    """Return what the user should know of probabilities."""
    fitted, notes = calibrating.calibration, []
    if prevalence is None:
        notes.append(
            f"probabilities are for samples with {fitted.prevalence:.0%} viruses; --prevalence "
            "takes the share that you expect, or auto to estimate it"
        )
    if (chunk_length, frames) != (fitted.chunk_length, fitted.frames):
        notes.append(
            f"the calibration was fitted for chunks of {fitted.chunk_length} bp and "
            f"{fitted.frames} frames: probabilities may be off"
        )
    return notes
