"""`train`: a bundle for `predict --bundle` from labelled sequences."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.assemble import bundle_of_encoders
from virnucpro.bundles.settle import choose_device
from virnucpro.bundles.store import bundle_path, check_name
from virnucpro.classify import load_classifier
from virnucpro.errors import InputError, SettingsError
from virnucpro.runs.execution import execute
from virnucpro.runs.job import Executor, Job, Observer, check_executor
from virnucpro.sequences.blocks import DEFAULT_BLOCK_CHUNKS
from virnucpro.sequences.chunking import check_chunk_length
from virnucpro.sequences.frames import FrameKind
from virnucpro.system.directories import checked_out, own_directory
from virnucpro.training.curves import check_matplotlib
from virnucpro.training.features import FeatureFiles, FeatureOutputs, FeatureSet
from virnucpro.training.genbank import CodingIndex
from virnucpro.training.groups import Grouping, Split, group_by, split
from virnucpro.training.heads import RECIPES, Epoch, Examples, FittedHead, HeadRecipe, fit_head
from virnucpro.training.labelled import Labelled, read_classes
from virnucpro.training.output_directory import locked_directory, write_records, write_results
from virnucpro.training.training_report import (
    Report,
    head_outcome,
    network_outcome,
    training_report,
)
from virnucpro.training.tuning import HeldOut, Tuned, Tuning, count_chunks, held_out, tune
from virnucpro.training.worker import Features

RECORDS_FILE, FEATURES, CHECKPOINT_FILE = "records.fasta", "features", "checkpoint.pt"


@dataclass(frozen=True)
class _Plan:
    """The checked settings of a training.

    Attributes:
        encoders: bundle of the encoders.
        chunk_length: bases of a chunk.
        frames: which frames to use.
        recipe: recipe of the head, or of the whole network.
    """

    encoders: Bundle
    chunk_length: int
    frames: FrameKind
    recipe: HeadRecipe | Tuning


def train(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    encoders: str | os.PathLike[str] = "compact",
    chunk_length: int | None = None,
    frames: FrameKind | None = None,
    recipe: str | HeadRecipe | Tuning = "default",
    group: Grouping = "clusters",
    dev_share: float = 0.1,
    coding_only: bool = False,
    name: str = "trained",
    seed: int = 1,
    device: str = "auto",
    precision: str = "auto",
    executor: Executor = "local",
    observer: Observer | None = None,
    on_note: Callable[[str], None] = lambda _: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Report:
    """Train a head or a whole network on labelled sequences, and write a bundle under `out`.

    The same call resumes an interrupted training; finished features are not extracted again. The
    same data, settings and kind of device give the same bundle; for a whole network the number of
    threads must be the same, too.

    Args:
        inputs: FASTA, FASTQ or GenBank files with names that begin with virus or other, directories
            of such files, or `CLASS=FILE`; with `labels`, files of any name.
        out: output directory: new, empty, or that of an earlier attempt of the same call.
        labels: table with the columns `record` or `id`, and `is_virus` or `class`.
        encoders: bundle with the encoders, which are not changed; or two local encoders joined by
            a +, as `esmc-300m+dnabert-s`.
        chunk_length: bases of a chunk (default: as the bundle says).
        frames: which frames to use (default: as the bundle says).
        recipe: `default`, `original` (the recipe of the original VirNucPro) or your own. A `Tuning`
            trains the whole network further, which must read six frames.
        group: what is never split between the training set and the held-out sequences: `clusters`
            of similar sequences, a `genome`, or a `record`.
        dev_share: share of the bases to hold out.
        coding_only: whether to train only on frames in annotated coding sequences (GenBank).
        name: name of the new bundle.
        seed: seed of the split, the weights and the order.
        device: as for `predict`.
        precision: as for `predict`.
        executor: as for `predict`.
        observer: receives the progress of the extraction of features.
        on_note: receives remarks on the data, one line each.
        on_epoch: receives the losses after each epoch.

    Returns:
        the content of `training.json`; the bundle is in `out`/bundle.

    Raises:
        InputError: the data cannot be read, or viral or other sequences are missing.
        BundleError: the encoders are unknown, incomplete or damaged, or `name` is not allowed.
        RunError: `out` holds another training or other files.
        SettingsError: a setting is not valid here.
    """
    check_matplotlib()
    check_executor(executor)
    check_name(name)
    plan = _plan(encoders, chunk_length, frames, recipe, group, dev_share, seed)
    if coding_only and plan.frames == "all":
        raise SettingsError(
            f"--coding-only: {plan.encoders.manifest.name} reads all frames as one; "
            "give --encoders compact-pair, or a bundle with published encoders"
        )
    directory = checked_out(out)
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    labelled = read_classes(paths, Path(labels) if labels is not None else None)
    parts = split(labelled.records, group_by(labelled.records, group), dev_share, seed)
    for note in (*labelled.notes, *parts.notes):
        on_note(note)
    _check_parts(labelled, parts, coding_only=coding_only)
    settings = {
        "encoders_sha256": plan.encoders.sha256, "chunk_length": plan.chunk_length,
        "frames": plan.frames, "group": group, "dev_share": dev_share, "coding_only": coding_only,
        "name": name, **asdict(plan.recipe),
    }  # fmt: skip
    with locked_directory(directory, labelled, settings) as watch:

        def after_epoch(epoch: Epoch) -> None:
            watch.check()
            on_epoch(epoch)

        write_records(directory / RECORDS_FILE, labelled)
        kind = choose_device(device.split(",", maxsplit=1)[0])
        trained: FittedHead | Tuned
        if isinstance(plan.recipe, Tuning):
            dev = held_out(labelled.records, parts.dev, plan.chunk_length)
            trained = _tuned(
                directory, plan, plan.recipe, labelled, parts, dev, kind.device, after_epoch,
                watch.check,
            )  # fmt: skip
            train_chunks = count_chunks(labelled.records, parts.train, plan.chunk_length)
            outcome = network_outcome(trained, dev, train_chunks)
        else:
            features = _extracted(directory, plan, device, precision, executor, observer)
            train_part, dev_part = _examples(features, labelled, parts, coding_only=coding_only)
            trained = fit_head(train_part, dev_part, plan.recipe, kind.device, after_epoch)
            outcome = head_outcome(trained, features, train_part, dev_part)
        report = training_report(outcome, labelled, parts, plan.recipe)
        write_results(
            directory, plan.encoders, trained, report,
            name=name, frames=plan.frames, chunk_length=plan.chunk_length,
        )  # fmt: skip
        return report


def _tuned(
    directory: Path,
    plan: _Plan,
    tuning: Tuning,
    labelled: Labelled,
    parts: Split,
    dev: HeldOut,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
    on_step: Callable[[], None],
) -> Tuned:
    """Train the network of the bundle further; resume an interrupted training."""
    bundle = plan.encoders
    bundle.check()
    _check_labels("held-out set", dev.is_virus_C, "chunks")
    train = [labelled.records[i] for i in parts.train.tolist()]
    classifier = load_classifier(bundle, torch.device("cpu"), torch.float32)
    checkpoint = directory / CHECKPOINT_FILE
    return tune(classifier, train, dev, tuning, device, checkpoint, on_epoch, on_step)


def _check_parts(labelled: Labelled, parts: Split, *, coding_only: bool) -> None:
    """Refuse data that nothing can be learned from, before anything is computed."""
    is_virus = np.array([record.is_virus for record in labelled.records])
    _check_labels("training set", is_virus[parts.train], "sequences")
    _check_labels("held-out set", is_virus[parts.dev], "sequences")
    if coding_only and all(record.exons is None for record in labelled.records):
        raise InputError("--coding-only: no sequence has annotation; give GenBank files")


def _check_labels(what: str, is_virus: NDArray[np.bool_], unit: str) -> None:
    """Refuse data with only one label."""
    if is_virus.all() or not is_virus.any():
        raise InputError(
            f"{what}: {int(is_virus.sum()):,} {unit} are viral and "
            f"{int((~is_virus).sum()):,} are not; give more sequences of either kind, or another "
            "--group"
        )


def _plan(
    encoders: str | os.PathLike[str],
    chunk_length: int | None,
    frames: str | None,
    recipe: str | HeadRecipe | Tuning,
    group: str,
    dev_share: float,
    seed: int,
) -> _Plan:
    """Check the settings and open the bundle of the encoders."""
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise SettingsError(f"--recipe {recipe}: give {', '.join(RECIPES)}")
    if group not in get_args(Grouping):
        raise SettingsError(f"--group {group}: give {', '.join(get_args(Grouping))}")
    if not 0 < dev_share < 1:
        raise SettingsError(f"--dev-share {dev_share}: give a share between 0 and 1, as 0.1")
    if not 0 <= seed < 1 << 63:
        raise SettingsError(f"--seed {seed}: give 0 or more, less than 2^63")
    bundle = load_bundle(_encoder_bundle(encoders), is_checked=True)  # verified while workers start
    drawn = bundle.manifest.drawn(frames)
    length = bundle.manifest.chunk_lengths[0] if chunk_length is None else chunk_length
    check_chunk_length(length)
    chosen = RECIPES[recipe] if isinstance(recipe, str) else recipe
    if isinstance(chosen, Tuning) and bundle.manifest.frames != "all":
        raise SettingsError(
            f"--end-to-end: the encoders of {bundle.manifest.name} stay as they are; "
            "give --encoders compact, or a bundle trained from it"
        )
    return _Plan(bundle, length, drawn, replace(chosen, seed=seed))


def _encoder_bundle(encoders: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the bundle of a name, or make one of two encoders whose names are joined by a +."""
    names = os.fspath(encoders).split("+")
    if len(names) != 2 or bundle_path(encoders).is_dir():
        return encoders
    return bundle_of_encoders(names)


def _extracted(
    directory: Path,
    plan: _Plan,
    device: str,
    precision: str,
    executor: Executor,
    observer: Observer | None,
) -> FeatureSet:
    """Embed every frame; resume an interrupted extraction."""
    bundle = plan.encoders
    manifest = bundle.manifest
    task = Features(
        bundle=os.fspath(bundle.path), bundle_sha256=bundle.sha256, chunk_length=plan.chunk_length,
        frames=plan.frames, block_chunks=DEFAULT_BLOCK_CHUNKS, precision=precision,
    )  # fmt: skip
    width = manifest.width
    job = Job(
        command="features",
        inputs=[str(directory / RECORDS_FILE)],
        task=task,
        product=FeatureFiles(FeatureOutputs(directory / FEATURES), width),
        weights=f"{manifest.name} {manifest.version}",
        weights_sha256=bundle.sha256,
        check=bundle.check,
        settings={"chunk_length": plan.chunk_length, "frames": plan.frames},
        how=f"chunks of {plan.chunk_length} bp, {plan.frames} frames",
    )
    own_directory(directory / FEATURES)
    summary = execute(job, device, executor, observer)
    if not summary.frames:
        raise InputError(
            "no frame to learn from: no sequence has one without a stop; give others, or "
            "--frames segments"
        )
    return FeatureSet.open(directory / FEATURES)


def _examples(
    features: FeatureSet, labelled: Labelled, parts: Split, *, coding_only: bool
) -> tuple[Examples, Examples]:
    """Return the frames of the training set and the held-out frames."""
    frame_S6 = features.frame_S6
    record = np.asarray(frame_S6[:, 0])
    is_virus = np.array([r.is_virus for r in labelled.records])
    kept = _coding(frame_S6, labelled) if coding_only else np.ones(len(record), dtype=np.bool_)
    found = []
    for what, members in (("training set", parts.train), ("held-out set", parts.dev)):
        rows = np.flatnonzero(np.isin(record, members) & kept)
        labels = is_virus[record[rows]]
        _check_labels(what, labels, "frames")
        found.append(Examples(features.features_SF, rows, labels))
    return found[0], found[1]


def _coding(frame_S6: NDArray[np.int64], labelled: Labelled) -> NDArray[np.bool_]:
    """Return which frames lie in annotated coding sequences."""
    records = labelled.records
    index = CodingIndex([r.exons for r in records], [len(r.letters) for r in records])
    record, _, start, end, frame, _ = np.asarray(frame_S6).T
    return index.lies_in_coding(record, start, end, frame)
