"""Writes a trained classifier as a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import torch

from virnucpro.bundles import Bundle, Manifest, load_bundle, write_bundle
from virnucpro.bundles.manifest import FORMAT, HeadSize, Thresholds
from virnucpro.bundles.store import write_manifest
from virnucpro.classify.classifier import PARTS, FrameClassifier
from virnucpro.errors import BundleError
from virnucpro.sequences import OPEN_FRAMES, FrameRule


def export_bundle(
    classifier: FrameClassifier,
    tokenizer_json: bytes | None,
    directory: Path,
    *,
    name: str,
    version: str,
    chunk_lengths: Sequence[int],
    frames: FrameRule = OPEN_FRAMES,
    provenance: Mapping[str, str],
    metrics: Mapping[str, Mapping[str, float]],
) -> Bundle:
    """Write a classifier as a bundle, its encoders in fp16 and its head in fp32.

    Args:
        classifier: the classifier, on the CPU.
        tokenizer_json: file of the DNA tokenizer; None without a DNA encoder.
        directory: directory of the bundle.
        name: name of the bundle.
        version: version of the bundle.
        chunk_lengths: chunk lengths in bases that it was trained for, the default first.
        frames: rule by which frames are used.
        provenance: origin of weights and data, and the licence.
        metrics: measures by the data that they were measured on.
    """
    config = classifier.config
    description = Manifest(
        format=FORMAT,
        name=name,
        version=version,
        protein_encoder=config.protein,
        dna_encoder=config.dna,
        head=HeadSize(hidden=config.head_hidden),
        frames=frames.kind,
        least_residues=frames.least_residues,
        chunk_lengths=tuple(chunk_lengths),
        thresholds=Thresholds(virus=0.5),
        provenance=dict(provenance),
        metrics={task: dict(values) for task, values in metrics.items()},
        files={},
    )
    return write_classifier(directory, description, classifier, tokenizer_json)


def write_classifier(
    directory: Path,
    description: Manifest,
    classifier: FrameClassifier,
    tokenizer_json: bytes | None = None,
) -> Bundle:
    """Write the files of a classifier, and the manifest, completed by the digests."""
    weights = {}
    for part, file in PARTS.items():
        if classifier.config.dna is None and part == "dna_encoder":
            continue
        state = classifier.get_submodule(part).state_dict()
        dtype = torch.float32 if part == "head" else torch.float16
        weights[file] = {k: t.to(dtype) if t.is_floating_point() else t for k, t in state.items()}
    return write_bundle(directory, description, weights, tokenizer_json)


def record_metrics(bundle: Bundle, metrics: Mapping[str, Mapping[str, float]]) -> Bundle:
    """Replace the metrics in the manifest of a bundle.

    Args:
        bundle: the bundle.
        metrics: measures by the data that they were measured on.
    """
    tasks = {task: dict(values) for task, values in metrics.items()}
    return _replace_in_manifest(bundle, metrics=tasks)


def record_calibration(bundle: Bundle, calibrated: Bundle) -> Bundle:
    """Copy the calibration of a bundle with the same weights into the manifest of `bundle`."""
    if bundle.manifest.files != calibrated.manifest.files:
        raise BundleError(
            f"{calibrated.path}: was calibrated with other weights than {bundle.path}"
        )
    return _replace_in_manifest(bundle, calibration=calibrated.manifest.calibration)


def _replace_in_manifest(bundle: Bundle, **changes: object) -> Bundle:
    write_manifest(bundle.path, msgspec.structs.replace(bundle.manifest, **changes))
    return load_bundle(bundle.path)
