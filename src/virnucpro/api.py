"""The public functions; each command of the command line is one of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from virnucpro.bundles import Manifest, load_bundle
from virnucpro.engine.blocks import DEFAULT_BLOCK_CHUNKS
from virnucpro.engine.prediction import Prediction
from virnucpro.errors import InputError, SettingsError
from virnucpro.execution import execute
from virnucpro.jobs import Executor, Job, Observer
from virnucpro.results.paths import Outputs
from virnucpro.results.summary import PredictionFiles, Summary
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.reader import STDIN


def predict(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] = "compact",
    chunk_length: int | None = None,
    frames: Literal["open"] | None = None,
    device: str = "auto",
    precision: str = "auto",
    legacy: bool = False,
    compressed: bool = False,
    block_chunks: int = DEFAULT_BLOCK_CHUNKS,
    executor: Executor = "local",
    observer: Observer | None = None,
) -> Summary:
    """Say which records are viral, and write tables under `out`.

    The same call continues a run that was interrupted; once it is finished, it returns at once.

    Args:
        inputs: FASTA or FASTQ files, plain, gz, bz2, xz or zst; `-` for standard input.
        out: output directory: new, empty, or of an earlier attempt at the same call.
        bundle: name of an embedded bundle, or a bundle's directory.
        chunk_length: bases of a chunk; by default what the bundle says.
        frames: how frames are drawn; by default what the bundle says.
        device: `auto` (all GPUs, else the CPU), `cuda` (all GPUs), or names parted by commas, as
            `cuda:0,cuda:1` or `cpu,cpu`; one worker each.
        precision: `auto`, `fp32`, `bf16`, `fp16` or `fp8`.
        legacy: also write the original VirNucPro's two files.
        compressed: compress tables and sequences with gzip.
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
    paths = _paths(inputs)
    loaded = load_bundle(bundle, is_checked=True)
    manifest = loaded.manifest
    length, notes = _chunk_length(manifest, chunk_length)
    if frames not in (None, manifest.frames):
        raise SettingsError(f"--frames {frames}: bundle {manifest.name} takes {manifest.frames}")
    if block_chunks < 1:
        raise SettingsError(f"--block-chunks {block_chunks}: give 1 or more")
    for path in paths:
        _check_readable(path)
    job = Job(
        command="predict",
        inputs=paths,
        task=Prediction(os.fspath(bundle), loaded.sha256, length, block_chunks, precision),
        product=PredictionFiles(Outputs(Path(out), legacy, compressed), manifest.thresholds.virus),
        weights=f"{manifest.name} {manifest.version}",
        weights_sha256=loaded.sha256,
        check=loaded.check,
        settings={
            "chunk_length": length, "frames": manifest.frames, "block_chunks": block_chunks,
            "legacy": legacy, "compressed": compressed,
        },
        how=f"chunks of {length} bp, {manifest.frames} frames",
        notes=notes,
    )  # fmt: skip
    return execute(job, device, executor, observer)


def _paths(inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[str]:
    """Return the inputs as text, checked."""
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    paths = [os.fspath(path) for path in given]
    if not paths:
        raise InputError("no input: give at least one FASTA or FASTQ file")
    if paths.count(STDIN) > 1:
        raise InputError("standard input (-) can be read only once")
    return paths


def _chunk_length(manifest: Manifest, asked_for: int | None) -> tuple[int, list[str]]:
    """Return the chunk length to use, and what the user should know of it."""
    length = manifest.chunk_lengths[0] if asked_for is None else asked_for
    if length < 3:
        raise SettingsError(f"--chunk-length {length}: give at least 3 bases, one codon")
    if length in manifest.chunk_lengths:
        return length, []
    known = ", ".join(map(str, manifest.chunk_lengths))
    return length, [f"{manifest.name} was trained for chunks of {known} bp, not {length}"]


def _check_readable(path: str) -> None:
    """Refuse a file that is missing, empty or of another kind before anything is written."""
    if path == STDIN or Path(path).is_fifo():
        return
    with SequenceFile(path) as file:
        next(iter(file), None)
