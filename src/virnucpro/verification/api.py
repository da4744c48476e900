"""Comparison of the outputs of this machine with those of the published networks."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from virnucpro.bundles import Bundle, Model
from virnucpro.bundles.bundle_files import read_manifest
from virnucpro.bundles.digests import AS_PUBLISHED, record
from virnucpro.bundles.manifest import Kind
from virnucpro.bundles.published_parts import HEAD
from virnucpro.bundles.reference import PACKAGED, Reference, read_reference
from virnucpro.bundles.registry import ENCODERS, PUBLISHED
from virnucpro.bundles.settle import choose_device
from virnucpro.bundles.stored_encoder import load
from virnucpro.encoders.precision import computed_precisions
from virnucpro.encoders.table import spec_of
from virnucpro.errors import BundleError, SettingsError
from virnucpro.verification.compare import BOUNDS, compare_scores, compare_vectors
from virnucpro.verification.networks import Networks, load_networks
from virnucpro.verification.verification_report import (
    FORMAT,
    Comparison,
    Skipped,
    VerificationReport,
)

#: Precisions in which no other network gives the published outputs within the bounds.
_TELLING = {"fp32", "bf16", "fp16"}


def verify(
    name: str | os.PathLike[str],
    *,
    device: str = "auto",
    precisions: Sequence[str] = (),
    reference: Path = PACKAGED,
    on_progress: Callable[[str], None] = lambda _: None,
) -> VerificationReport:
    """Recompute the published outputs of the networks for some sequences, and compare.

    Args:
        name: a bundle, or an encoder as `embed` takes it. Its encoders are recognised by their
            sizes, its head by the file that it was made of.
        device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precisions: by default all that the device computes; those that do not fit are skipped.
        reference: a directory as `virnucpro.bundles.reference` is one.
        on_progress: called with a description of each step.

    Raises:
        BundleError: there is no such bundle or encoder, it is damaged, or nothing is known of it.
        SettingsError: there is no such device, or it never computes a precision.
    """
    known = read_reference(reference)
    devices = [choose_device(device, precision) for precision in precisions or ["auto"]]
    here = devices[0].device
    wanted = [x.precision for x in devices] if precisions else computed_precisions(here)
    on_progress("digests of the files")
    found = load(name)
    recognised, notes = _recognise(os.fspath(name), found, known)
    comparisons: list[Comparison] = []
    skipped: list[Skipped] = []
    for precision in dict.fromkeys(wanted):
        on_progress(precision)
        try:
            computed_with, rows = _computed(found, device, precision, recognised, known)
        except (SettingsError, torch.OutOfMemoryError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            skipped.append(Skipped(precision=precision, reason=reason))
        else:
            notes += computed_with
            comparisons += rows
    faults = [row.fault for row in comparisons if row.fault]
    if not faults and _TELLING & {row.precision for row in comparisons}:
        notes += _recorded(found, recognised)
    return VerificationReport(
        format=FORMAT,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        virnucpro=version("virnucpro"),
        torch=str(torch.__version__),
        python=platform.python_version(),
        device=devices[0].kind,
        name=os.fspath(name),
        sha256=found.sha256,
        notes=notes,
        comparisons=comparisons,
        skipped=skipped,
        is_as_published=bool(comparisons) and not faults,
        verdict=_verdict(comparisons, faults),
    )


def _verdict(comparisons: Sequence[Comparison], faults: Sequence[str]) -> str:
    if not comparisons:
        return "NOT verified: no precision could be computed"
    return f"NOT as published: {'; '.join(faults)}" if faults else "as published"


class _Recognised(NamedTuple):
    """The outputs that can be compared.

    Attributes:
        encoders: kind of an encoder -> its published name.
        has_scores: whether scores can be compared.
    """

    encoders: Mapping[Kind, str]
    has_scores: bool


def _recognise(name: str, found: Bundle | Model, known: Reference) -> tuple[_Recognised, list[str]]:
    """Return the outputs that can be compared, and notes about the others.

    Raises:
        BundleError: no output can be compared.
    """
    frames, encoders, notes = known.content.frames, {}, []
    for kind, stored in found.encoders.items():
        encoder = known.encoder_of(kind, stored.config.layers, stored.config.width)
        if encoder is None:
            notes.append(f"{kind} encoder: not compared, nothing is known of one of its sizes")
        else:
            encoders[kind] = encoder
    if not encoders:
        every = ", ".join(encoder.name for encoder in known.content.encoders)
        raise BundleError(
            f"{name}: nothing published is known of encoders of its sizes; give {every}, or a "
            "bundle of these such as virnucpro-500"
        )
    both = {"protein": frames.protein, "dna": frames.dna}
    has_scores = encoders == both and isinstance(found, Bundle) and _has_head(found, known)
    if isinstance(found, Bundle) and not has_scores:
        notes.append(f"scores: not compared, known are those of {frames.head} alone")
    return _Recognised(encoders, has_scores), notes


def _recorded(found: Bundle | Model, recognised: _Recognised) -> list[str]:
    """Record the digests of files with a published name that give the published outputs."""
    notes: list[str] = []
    own = read_manifest(found.path)[0]
    for kind, name in recognised.encoders.items():
        is_named = own.name == name or (own.name in PUBLISHED and isinstance(found, Bundle))
        provenance = own.provenance.get(spec_of(found.encoders[kind].config).title, "")
        if is_named and record(ENCODERS[name], provenance):
            notes.append(f"{name}: the digests of its files are recorded")
    return notes


def _has_head(bundle: Bundle, known: Reference) -> bool:
    """Return whether a bundle's head is, by its provenance, the head with known scores."""
    provenance, frames = bundle.manifest.provenance.get(HEAD, ""), known.content.frames
    is_published = f"({AS_PUBLISHED})" in provenance
    fits = is_published and frames.chunk_length in bundle.manifest.chunk_lengths
    return fits or provenance.startswith(f"{frames.head} ")


def _computed(
    found: Bundle | Model, device: str, precision: str, recognised: _Recognised, known: Reference
) -> tuple[list[str], list[Comparison]]:
    """Compute in one precision; return notes on the backends, and the comparisons.

    The networks are freed at the end.
    """
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.empty_cache()
    networks = load_networks(found, device, precision)
    notes = [f"{precision}, {note}" for note in networks.notes]
    return notes, _compared(networks, recognised, known)


@torch.inference_mode()
def _compared(networks: Networks, recognised: _Recognised, known: Reference) -> list[Comparison]:
    """Compare every output that is known."""
    precision = networks.device.precision
    bounds, frames = BOUNDS[precision], known.content.frames
    rows: list[Comparison] = []
    means: dict[Kind, Tensor] = {}

    def compare(what: str, found_RD: Tensor, expected_RD: Tensor, least: float) -> None:
        rows.append(compare_vectors(precision, what, found_RD, expected_RD, least))

    for kind, encoder in recognised.encoders.items():
        if encoder in known.content.proteins.encoders:
            tokens = networks.tokens(kind, known.content.proteins.sequences)
            states_TD, means_SD = known.hidden_states(encoder), known.protein_means(encoder)
            of = f"{len(means_SD)} proteins"
            found_TD = networks.hidden_states(kind, tokens)
            compare(f"{encoder} tokens of {of}", found_TD, states_TD, bounds.tokens)
            found_SD = networks.means(kind, tokens)
            compare(f"{encoder} means of {of}", found_SD, means_SD, bounds.bf16_means)
        if encoder in (frames.protein, frames.dna):
            tokens = networks.tokens(kind, frames.texts(kind))
            means[kind] = networks.means(kind, tokens)
            what = f"{encoder} means of {len(frames.frames)} frames"
            compare(what, means[kind], known.frame_means(encoder), bounds.means)
    if recognised.has_scores and networks.classifier is not None:
        scores_S2 = networks.classifier(means["protein"], means["dna"])
        what = f"{frames.head} scores of {len(frames.frames)} frames"
        rows.append(compare_scores(precision, what, scores_S2[:, 1], frames.frames, bounds.scores))
    return rows
