"""What `predict` is to do: its options, and the job that they and the input make."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

from virnucpro.bundles import Bundle, Manifest, load_bundle
from virnucpro.bundles.assemble import bundle_with_head
from virnucpro.bundles.manifest import Calibration
from virnucpro.classify.probability import least_score
from virnucpro.errors import SettingsError
from virnucpro.prediction.outputs.paths import READ_CALLS, Outputs, ReadFiles, ReadFormat
from virnucpro.prediction.outputs.probabilities import Calibrating
from virnucpro.prediction.outputs.reads import TaggedReads
from virnucpro.prediction.outputs.summary import PredictionFiles, Summary
from virnucpro.prediction.report.api import check_show, show
from virnucpro.prediction.task import Prediction
from virnucpro.runs.job import Job
from virnucpro.sequences.blocks import DEFAULT_BLOCK_CHUNKS
from virnucpro.sequences.chunking import check_chunk_length
from virnucpro.sequences.fragments import ReadOptions, Source
from virnucpro.sequences.frames import FrameKind
from virnucpro.sequences.inputs import (
    AnyPath,
    check_for_bam,
    checked_inputs,
    mate_notes,
    repeat_notes,
)
from virnucpro.system.directories import checked_out

#: Below every p_virus. Which records --max-fdr calls is known at the end, so that the letters of
#: all that have a score are kept until then.
_ANY_SCORE = -1.0
#: Chunks of the largest block, which must fit into memory.
_LARGEST_BLOCK = 1_000_000


@dataclass(frozen=True)
class PredictOptions:
    """What `predict` depends on beside bundle, input and device; see there."""

    interleaved: bool = False
    chunk_length: int | None = None
    frames: FrameKind | None = None
    prevalence: float | Literal["auto"] | None = None
    max_fdr: float | None = None
    precision: str = "auto"
    legacy: bool = False
    write: Sequence[str] = ("virus",)
    reads: ReadFormat = "fasta"
    bam: bool = False
    compressed: bool = False
    report: bool = True
    block_chunks: int = DEFAULT_BLOCK_CHUNKS


def named_bundle(
    bundle: str | os.PathLike[str], head: str | os.PathLike[str] | None
) -> tuple[str, Bundle]:
    """Return the name or directory of the bundle to use, and its manifest."""
    if head is not None:
        bundle = bundle_with_head(os.fspath(bundle), Path(head))
    return os.fspath(bundle), load_bundle(bundle, is_checked=True)


def prediction_job(
    bundle: str,
    loaded: Bundle,
    inputs: Sequence[AnyPath] | AnyPath,
    mates: Sequence[tuple[AnyPath, AnyPath]],
    out: AnyPath,
    options: PredictOptions,
) -> Job[Summary]:
    """Return what `predict` is to do with these inputs; for its errors and options see there."""
    manifest = loaded.manifest
    length, notes = _chunk_length(manifest, options.chunk_length)
    drawn = manifest.drawn(options.frames)
    if drawn != manifest.frames:
        notes.append(f"{manifest.name} was trained for {manifest.frames} frames, not {drawn}")
    calibrating = _calibrating(manifest, options.prevalence, options.max_fdr)
    if calibrating:
        notes += _calibration_notes(calibrating.calibration, length, drawn)
    if not 1 <= options.block_chunks <= _LARGEST_BLOCK:
        raise SettingsError(f"--block-chunks {options.block_chunks}: give 1 to {_LARGEST_BLOCK:,}")
    reading = ReadOptions(options.interleaved, options.reads == "fastq", options.bam)
    sources = checked_inputs(inputs, "dna", mates, reading)
    files = _read_files(options.write, options.reads, sources)
    if options.bam:
        check_for_bam(sources)
    weights = f"{manifest.name} {manifest.version}"
    outputs = Outputs(
        checked_out(out), options.legacy, options.compressed, files, options.bam, options.report
    )
    is_by_fdr = options.max_fdr is not None
    input_notes = repeat_notes(sources) + ([] if options.interleaved else mate_notes(sources))
    return Job(
        command="predict",
        inputs=sources,
        task=Prediction(
            bundle, loaded.sha256, length, drawn, options.block_chunks, options.precision,
            letters_above=_letters_above(manifest, calibrating),
            kept=("virus", *files.calls) if calibrating else files.calls,
            options=reading,
        ),
        product=PredictionFiles(
            outputs,
            manifest.thresholds.virus,
            calibrating,
            TaggedReads(tuple(sources), reading, weights) if options.bam else None,
            (*notes, *input_notes),
        ),
        weights=weights,
        weights_sha256=loaded.sha256,
        check=partial(_check, loaded, outputs),
        settings={
            "chunk_length": length, "frames": drawn, "block_chunks": options.block_chunks,
            "legacy": options.legacy, "compressed": options.compressed,
            "interleaved": options.interleaved, "write": ",".join(files.calls),
            "reads": options.reads, "bam": options.bam,
            "prevalence": str(calibrating.prevalence or "auto") if calibrating else "none",
            "max_fdr": str(options.max_fdr) if is_by_fdr else "none",
        },
        how=f"chunks of {length} bp, {drawn} frames",
        notes=notes,
        input_notes=input_notes,
        show=partial(show, outputs, loaded),
    )  # fmt: skip


def _check(bundle: Bundle, outputs: Outputs) -> None:
    """Compare the digests of the weights, and load what draws the report if it is missing."""
    bundle.check()
    if outputs.report and not outputs.path("report").is_file():
        check_show()


def _read_files(write: Sequence[str], reads: str, sources: Sequence[Source]) -> ReadFiles:
    """Return which reads are written."""
    if reads not in get_args(ReadFormat):
        raise SettingsError(f"--reads {reads}: give {' or '.join(get_args(ReadFormat))}")
    for call in write:
        if call not in READ_CALLS:
            raise SettingsError(f"--write {call}: give {', '.join(READ_CALLS)}")
    has_singles = any(isinstance(source, str) for source in sources)
    has_pairs = any(not isinstance(source, str) for source in sources)
    calls = tuple(call for call in READ_CALLS if call in write)
    return ReadFiles(calls, cast("ReadFormat", reads), has_singles, has_pairs)


def _chunk_length(manifest: Manifest, asked_for: int | None) -> tuple[int, list[str]]:
    """Return the chunk length to use, and what the user should know of it."""
    length = manifest.chunk_lengths[0] if asked_for is None else asked_for
    check_chunk_length(length)
    if length in manifest.chunk_lengths:
        return length, []
    known = ", ".join(map(str, manifest.chunk_lengths))
    return length, [f"{manifest.name} was trained for chunks of {known} bp, not {length}"]


def _letters_above(manifest: Manifest, calibrating: Calibrating | None) -> float | None:
    """Return above which p_virus a record may be called virus; None for the bundle's threshold."""
    if calibrating is None:
        return None
    if calibrating.prevalence is None or calibrating.max_fdr is not None:
        return _ANY_SCORE
    threshold = manifest.thresholds.virus
    return least_score(calibrating.calibration, calibrating.prevalence, threshold)


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
    known = None if prevalence in (None, "auto") else float(prevalence)
    return Calibrating(manifest.calibration, known, max_fdr)


def _calibration_notes(fitted: Calibration, chunk_length: int, frames: FrameKind) -> list[str]:
    """Return what the user should know of probabilities."""
    if (chunk_length, frames) == (fitted.chunk_length, fitted.frames):
        return []
    said = f"chunks of {fitted.chunk_length} bp and {fitted.frames} frames"
    return [f"the calibration was fitted for {said}: probabilities may be off"]
