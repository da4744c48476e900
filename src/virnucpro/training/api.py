"""`train`: from labelled sequences to a bundle that `predict --bundle` takes."""

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
from virnucpro.training.card import Report, outcome_of_head, outcome_of_network, report_of
from virnucpro.training.curves import check_matplotlib
from virnucpro.training.features import FeatureFiles, FeatureOutputs, FeatureSet
from virnucpro.training.files import bound, write_records, write_results
from virnucpro.training.genbank import CodingIndex
from virnucpro.training.groups import Grouping, Split, group_by, split
from virnucpro.training.heads import RECIPES, Epoch, Examples, FittedHead, HeadRecipe, fit_head
from virnucpro.training.labelled import Labelled, read_classes
from virnucpro.training.tuning import HeldOut, Tuned, Tuning, count_chunks, held_out, tune
from virnucpro.training.worker import Features

RECORDS_FILE, FEATURES, CHECKPOINT_FILE = "records.fasta", "features", "checkpoint.pt"


@dataclass(frozen=True)
class _Plan:
    """What is trained, checked.

    Attributes:
        encoders: the bundle whose encoders these are.
        chunk_length: bases of a chunk.
        frames: how frames are drawn.
        recipe: of the head, or of the whole network.
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
    """Train a head, or a whole network, on labelled sequences, and write a bundle under `out`.

    The same call continues where an earlier one was interrupted: features are extracted once. The
    same data, settings and kind of device give the same bundle; a whole network needs the same
    number of threads as well.

    Args:
        inputs: FASTA, FASTQ or GenBank files or directories whose names begin with virus or other,
            or `CLASS=FILE`; with `labels` files of any name.
        out: output directory: new, empty, or of an earlier attempt at the same call.
        labels: a table with the columns `record` or `id`, and `is_virus` or `class`.
        encoders: the bundle whose encoders are used, as they are; or two encoders of this machine
            with a + between them, as `esmc-300m+dnabert-s`.
        chunk_length: bases of a chunk; by default as the bundle says.
        frames: how frames are drawn; by default as the bundle says.
        recipe: `default`, `original` (as the original VirNucPro trains) or one of your own; a
            `Tuning` trains the whole network further, which must read six frames.
        group: what is never parted between training and the sequences held out: `clusters` of
            similar sequences, a `genome`, or a `record`.
        dev_share: share of the bases held out.
        coding_only: learn from the frames in annotated coding sequences alone (GenBank).
        name: of the bundle.
        seed: of the split, the weights and the order.
        device: as for `predict`.
        precision: as for `predict`.
        executor: as for `predict`.
        observer: is told how the extraction goes.
        on_note: is told what the user should know of the data.
        on_epoch: is told of each pass.

    Returns:
        what `training.json` holds; the bundle is in `out`/bundle.

    Raises:
        InputError: the data cannot be read, or one of virus and other is missing.
        BundleError: the encoders are unknown, incomplete or damaged, or `name` is no name.
        RunError: `out` holds something else, or another training.
        SettingsError: a setting does not fit.
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
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    labelled = read_classes(given, Path(labels) if labels is not None else None)
    parts = split(labelled.records, group_by(labelled.records, group), dev_share, seed)
    for note in (*labelled.notes, *parts.notes):
        on_note(note)
    _check_parts(labelled, parts, coding_only=coding_only)
    settings = {
        "encoders_sha256": plan.encoders.sha256, "chunk_length": plan.chunk_length,
        "frames": plan.frames, "group": group, "dev_share": dev_share, "coding_only": coding_only,
        "name": name, **asdict(plan.recipe),
    }  # fmt: skip
    with bound(directory, labelled, settings) as watch:

        def told(epoch: Epoch) -> None:
            watch.check()
            on_epoch(epoch)

        write_records(directory / RECORDS_FILE, labelled)
        kind = choose_device(device.split(",", maxsplit=1)[0])
        trained: FittedHead | Tuned
        if isinstance(plan.recipe, Tuning):
            dev = held_out(labelled.records, parts.dev, plan.chunk_length)
            trained = _tuned(
                directory, plan, plan.recipe, labelled, parts, dev, kind.device, told, watch.check
            )
            learned = count_chunks(labelled.records, parts.train, plan.chunk_length)
            outcome = outcome_of_network(trained, dev, learned)
        else:
            features = _extracted(directory, plan, device, precision, executor, observer)
            train_part, dev_part = _examples(features, labelled, parts, coding_only=coding_only)
            trained = fit_head(train_part, dev_part, plan.recipe, kind.device, told)
            outcome = outcome_of_head(trained, features, train_part, dev_part)
        report = report_of(outcome, labelled, parts, plan.recipe)
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
    """Train the network of the bundle further, or go on with it."""
    bundle = plan.encoders
    bundle.check()
    _check_labels("held out", dev.is_virus_C, "chunks")
    train = [labelled.records[i] for i in parts.train.tolist()]
    classifier = load_classifier(bundle, torch.device("cpu"), torch.float32)
    checkpoint = directory / CHECKPOINT_FILE
    return tune(classifier, train, dev, tuning, device, checkpoint, on_epoch, on_step)


def _check_parts(labelled: Labelled, parts: Split, *, coding_only: bool) -> None:
    """Refuse before anything is computed what cannot be learned from."""
    is_virus = np.array([record.is_virus for record in labelled.records])
    _check_labels("training", is_virus[parts.train], "sequences")
    _check_labels("held out", is_virus[parts.dev], "sequences")
    if coding_only and all(record.exons is None for record in labelled.records):
        raise InputError("--coding-only: no sequence has annotation; give GenBank files")


def _check_labels(what: str, is_virus: NDArray[np.bool_], unit: str) -> None:
    """Refuse what has one label alone."""
    if is_virus.all() or not is_virus.any():
        raise InputError(
            f"of the sequences {what}, {int(is_virus.sum()):,} {unit} are viral and "
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
    """Check the settings."""
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise SettingsError(f"--recipe {recipe}: give {', '.join(RECIPES)}")
    if group not in get_args(Grouping):
        raise SettingsError(f"--group {group}: give {', '.join(get_args(Grouping))}")
    if not 0 < dev_share < 1:
        raise SettingsError(f"--dev-share {dev_share}: give a share between 0 and 1, as 0.1")
    if not 0 <= seed < 1 << 63:
        raise SettingsError(f"--seed {seed}: give 0 or more, less than 2^63")
    bundle = load_bundle(_whole(encoders), is_checked=True)  # compared while the workers come up
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


def _whole(encoders: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the bundle that a name means: a bundle's own, or those of two encoders with a +."""
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
    """Embed every frame, or go on with it."""
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
    """Return the frames to learn from and those held out."""
    frame_S6 = features.frame_S6
    record = np.asarray(frame_S6[:, 0])
    is_virus = np.array([r.is_virus for r in labelled.records])
    kept = _coding(frame_S6, labelled) if coding_only else np.ones(len(record), dtype=np.bool_)
    found = []
    for what, members in (("training", parts.train), ("held out", parts.dev)):
        rows = np.flatnonzero(np.isin(record, members) & kept)
        labels = is_virus[record[rows]]
        _check_labels(what, labels, "frames")
        found.append(Examples(features.features_SF, rows, labels))
    return found[0], found[1]


def _coding(frame_S6: NDArray[np.int64], labelled: Labelled) -> NDArray[np.bool_]:
    """Tell which frames lie in annotated coding sequences."""
    records = labelled.records
    index = CodingIndex([r.exons for r in records], [len(r.letters) for r in records])
    record, _, start, end, frame, _ = np.asarray(frame_S6).T
    return index.lies_in_coding(record, start, end, frame)
