"""The task of `predict`, and the job that its options and inputs make."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from virnucpro.bundles import Bundle, Manifest, load_bundle
from virnucpro.bundles.assemble import bundle_with_head
from virnucpro.bundles.manifest import Calibration
from virnucpro.classify import CALL_NAMES
from virnucpro.classify.bundle_task import BundleTask
from virnucpro.classify.consensus import VIRUS
from virnucpro.classify.probability import least_score
from virnucpro.errors import SettingsError
from virnucpro.prediction.options import PredictOptions, Share, share_to_text
from virnucpro.prediction.outputs.paths import Outputs, ReadFiles
from virnucpro.prediction.outputs.probabilities import Calibrating
from virnucpro.prediction.outputs.product import PredictionFiles
from virnucpro.prediction.outputs.reads_bam import TaggedReads
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.prediction.report.api import check_show, show
from virnucpro.prediction.shard import encode_shard, unscored_shard
from virnucpro.prediction.worker import Worker
from virnucpro.runs.devices import Budgets, Device
from virnucpro.runs.job import Job
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.chunking import check_chunk_length
from virnucpro.sequences.frames import FrameKind
from virnucpro.sequences.inputs import AnyPath, checked_inputs
from virnucpro.system.directories import checked_out

#: Lower than every p_virus: which records --max-fdr calls virus is known only at the end, so the
#: letters of all scored records are kept until then.
_ANY_SCORE = -1.0


@dataclass(frozen=True)
class Prediction(BundleTask):
    """A `Task` whose shards hold scores.

    Attributes:
        letters_above: in shards, a record is a virus if its p_virus is above this (default: the
            threshold of the bundle).
        kept: calls of the records whose letters shards keep.
    """

    letters_above: float | None = None
    kept: tuple[str, ...] = (CALL_NAMES[VIRUS],)

    def worker(self, device: Device, budgets: Budgets) -> Worker:
        """Load the networks of the bundle."""
        return Worker(
            self.load(is_checked=True),
            device,
            self.chunk_length,
            budgets,
            frames=self.frames,
            letters_above=self.letters_above,
            kept=self.kept,
        )

    def unscored(self, block: Block, problem: str) -> bytes:
        """Return a shard without scores."""
        return encode_shard(unscored_shard(block, self.chunk_length, problem, self.kept))


class NamedBundle(NamedTuple):
    """A bundle and the name or directory by which workers load it."""

    name: str
    loaded: Bundle


def load_named(options: PredictOptions) -> NamedBundle:
    """Find the bundle that the options ask for."""
    bundle = options.bundle
    if options.head is not None:
        bundle = bundle_with_head(os.fspath(bundle), Path(options.head))
    return NamedBundle(os.fspath(bundle), load_bundle(bundle, is_checked=True))


def prediction_job(
    bundle: NamedBundle,
    inputs: Sequence[AnyPath] | AnyPath,
    mates: Sequence[tuple[AnyPath, AnyPath]],
    out: AnyPath,
    options: PredictOptions,
) -> Job[Summary]:
    """Return the job of `predict` for some inputs; see there for errors."""
    manifest = bundle.loaded.manifest
    chosen = _settings(manifest, options)
    found = checked_inputs(inputs, "dna", mates, options.reading)
    if options.bam:
        found.check_for_bam()
    sources = found.sources
    files = ReadFiles(
        options.calls,
        options.reads,
        has_singles=any(isinstance(source, str) for source in sources),
        has_pairs=any(not isinstance(source, str) for source in sources),
    )
    outputs = Outputs(
        checked_out(out), options.legacy, options.compressed, files, options.bam, options.report
    )
    weights = f"{manifest.name} {manifest.version}"
    input_notes = found.repeat_notes() + ([] if options.interleaved else found.mate_notes())
    tagged = TaggedReads(tuple(sources), options.reading, weights) if options.bam else None
    threshold, notes = manifest.thresholds.virus, (*chosen.notes, *input_notes)
    product = PredictionFiles(outputs, threshold, chosen.calibrating, tagged, notes)
    return Job(
        command="predict",
        inputs=sources,
        task=_task(bundle, chosen, options),
        product=product,
        weights=weights,
        weights_sha256=bundle.loaded.sha256,
        check=partial(_check, bundle.loaded, outputs),
        settings=_binding(chosen, options),
        how=f"chunks of {chosen.chunk_length} bp, {chosen.frames} frames",
        notes=chosen.notes,
        input_notes=input_notes,
        show=partial(show, outputs, bundle.loaded, product.findings),
    )  # fmt: skip


class _Settings(NamedTuple):
    """Settings of a run that options and bundle decide together.

    Attributes:
        chunk_length: bases of a chunk.
        frames: which frames are used.
        calibrating: how scores become probabilities; None without a calibration.
        letters_above: in shards, a record is a virus if its p_virus is above this; None for the
            threshold of the bundle.
        notes: what the user should know about the settings.
    """

    chunk_length: int
    frames: FrameKind
    calibrating: Calibrating | None
    letters_above: float | None
    notes: list[str]


def _settings(manifest: Manifest, options: PredictOptions) -> _Settings:
    """Return the settings; raise a `SettingsError` for options that do not fit the bundle."""
    length, notes = _chunk_length(manifest, options.chunk_length)
    frames = manifest.drawn(options.frames)
    if frames != manifest.frames:
        notes.append(f"{manifest.name} was trained for {manifest.frames} frames, not {frames}")
    calibrating = _calibrating(manifest, options)
    if calibrating:
        notes += _calibration_notes(calibrating.calibration, length, frames)
    return _Settings(length, frames, calibrating, _letters_above(manifest, calibrating), notes)


def _task(bundle: NamedBundle, chosen: _Settings, options: PredictOptions) -> Prediction:
    """Return what the workers compute."""
    return Prediction(
        bundle.name,
        bundle.loaded.sha256,
        chosen.chunk_length,
        chosen.frames,
        options.block_chunks,
        options.precision,
        options.reading,
        letters_above=chosen.letters_above,
        kept=("virus", *options.calls) if chosen.calibrating else options.calls,
    )


def _binding(chosen: _Settings, options: PredictOptions) -> dict[str, int | str | bool]:
    """Return the settings that run.json binds the run to."""
    calibrating = chosen.calibrating
    prevalence: Share = None if calibrating is None else calibrating.prevalence or "auto"
    return {
        "chunk_length": chosen.chunk_length, "frames": chosen.frames,
        "block_chunks": options.block_chunks,
        "legacy": options.legacy, "compressed": options.compressed,
        "interleaved": options.interleaved, "write": ",".join(options.calls),
        "reads": options.reads, "bam": options.bam,
        "prevalence": share_to_text(prevalence), "max_fdr": share_to_text(options.max_fdr),
    }  # fmt: skip


def _check(bundle: Bundle, outputs: Outputs) -> None:
    """Verify the digests of the weights; import what draws the report, if it is still missing."""
    bundle.check()
    if outputs.report and not outputs.path("report").is_file():
        check_show()


def _chunk_length(manifest: Manifest, asked_for: int | None) -> tuple[int, list[str]]:
    """Return the chunk length, and notes for the user about it."""
    length = manifest.chunk_lengths[0] if asked_for is None else asked_for
    check_chunk_length(length)
    if length in manifest.chunk_lengths:
        return length, []
    known = ", ".join(map(str, manifest.chunk_lengths))
    return length, [f"{manifest.name} was trained for chunks of {known} bp, not {length}"]


def _letters_above(manifest: Manifest, calibrating: Calibrating | None) -> float | None:
    """Return the lowest p_virus of possible viruses; None for the threshold of the bundle."""
    if calibrating is None:
        return None
    if calibrating.prevalence is None or calibrating.max_fdr is not None:
        return _ANY_SCORE
    threshold = manifest.thresholds.virus
    return least_score(calibrating.calibration, calibrating.prevalence, threshold)


def _calibrating(manifest: Manifest, options: PredictOptions) -> Calibrating | None:
    """Return how scores become probabilities; None if the bundle has no calibration."""
    if manifest.calibration is None:
        for option, share in options.shares.items():
            if share is not None:
                raise SettingsError(
                    f"{option} {share}: {manifest.name} has no calibration; fit one with virnucpro "
                    "calibrate, or omit the option"
                )
        return None
    known = None if options.prevalence in (None, "auto") else float(options.prevalence)
    return Calibrating(manifest.calibration, known, options.max_fdr)


def _calibration_notes(fitted: Calibration, chunk_length: int, frames: FrameKind) -> list[str]:
    """Return notes for the user about the calibration."""
    if (chunk_length, frames) == (fitted.chunk_length, fitted.frames):
        return []
    used = f"chunks of {fitted.chunk_length} bp and {fitted.frames} frames"
    return [f"the calibration was fitted for {used}: probabilities may be off"]
