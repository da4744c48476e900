"""Bundles from the files in which encoders and heads are published."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from virnucpro.bundles import manifest as layout
from virnucpro.bundles.convert import convert_dna, convert_head, convert_protein
from virnucpro.bundles.manifest import Manifest, Thresholds
from virnucpro.bundles.registry import ESM2_3B_FILES, PUBLISHED, git_blob_id, sha256_of
from virnucpro.bundles.store import Bundle, home, load_bundle, write_bundle
from virnucpro.bundles.weights import read_config, read_weights, weight_files
from virnucpro.errors import BundleError

_TOKENIZER = "tokenizer.json"
_HEAD_BLOBS = {published.head_blob for published in PUBLISHED.values()}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class _Source(NamedTuple):
    """Weights that were given and what they are."""

    path: Path
    state: dict[str, Tensor]


def add_bundle(
    name: str,
    files: Sequence[str | os.PathLike[str]],
    chunk_length: int | None = None,
    *,
    threshold: float = 0.5,
) -> Bundle:
    """Make a bundle of published files and keep it under its name.

    Args:
        name: what to call it; `predict --bundle` takes it then. A published name needs the
            published head.
        files: in any order, an ESM-2 (a file or a directory in Hugging Face's layout, or
            fair-esm's .pt), a DNABERT-S (its directory), and a head (`500_model.pth`).
        chunk_length: bases of a chunk that the head was trained for; known of published names.
        threshold: a record is virus above this p_virus.

    Raises:
        BundleError: when something is missing, given twice, damaged, or does not fit together.
    """
    if not _NAME.fullmatch(name):
        raise BundleError(f"{name[:100]!r} is no name for a bundle; give letters, digits, . _ -")
    place = home() / name
    if place.exists():
        raise BundleError(f"{place}: is there already; remove it, or give another name")
    published = PUBLISHED.get(name)
    chunk_length = chunk_length or (published.chunk_length if published else None)
    if chunk_length is None:
        raise BundleError(f"{name}: for chunks of which length? give --chunk-length")
    found = _identify([Path(file) for file in files])
    _check_published(name, found)
    protein, dna, head = (found[kind] for kind in ("ESM-2", "DNABERT-S", "head"))
    protein_part, protein_state = convert_protein(
        protein.state, read_config(protein.path), str(protein.path)
    )
    dna_part, dna_state = convert_dna(dna.state, read_config(dna.path), str(dna.path))
    head_part, head_state = convert_head(head.state, str(head.path))
    inputs = head_state["hidden_layer.weight"].shape[1]
    if inputs != protein_part.width + dna_part.width:
        raise BundleError(
            f"{head.path}: takes {inputs} numbers a frame where these encoders give "
            f"{dna_part.width} + {protein_part.width}; it was trained with others"
        )
    description = Manifest(
        format=layout.FORMAT, name=name, version="1", protein_encoder=protein_part,
        dna_encoder=dna_part, head=head_part, frames="open", chunk_lengths=(chunk_length,),
        thresholds=Thresholds(virus=threshold),
        provenance={kind: _said_of(kind, source) for kind, source in found.items()},
        metrics={}, files={},
    )  # fmt: skip
    weights = {
        layout.PROTEIN_FILE: protein_state,
        layout.DNA_FILE: dna_state,
        layout.HEAD_FILE: head_state,
    }
    return _written(place, description, weights, _tokenizer(dna.path))


def _identify(paths: list[Path]) -> dict[str, _Source]:
    """Read what was given and tell by the tensors' names what it is."""
    found: dict[str, _Source] = {}
    for path in paths:
        source = _Source(path, read_weights(path))
        kind = _kind(source.state)
        if kind in found:
            raise BundleError(f"{path}: a second {kind} beside {found[kind].path}; give one")
        found[kind] = source
    missing = [kind for kind in ("ESM-2", "DNABERT-S", "head") if kind not in found]
    if missing:
        raise BundleError(f"no {' and no '.join(missing)} among the files; give all three parts")
    return found


def _kind(state: dict[str, Tensor]) -> str:
    if "hidden_layer.weight" in state:
        return "head"
    return "DNABERT-S" if any("Wqkv" in name for name in state) else "ESM-2"


def _check_published(name: str, found: dict[str, _Source]) -> None:
    """Hold a published name to the published head."""
    published, head = PUBLISHED.get(name), found["head"].path
    if published is not None and git_blob_id(head) != published.head_blob:
        raise BundleError(
            f"{head}: is not the published {published.head} (git blob {published.head_blob[:12]}); "
            f"get that, or give the bundle another name than {name}"
        )


def _said_of(kind: str, source: _Source) -> str:
    """Say which files weights come from and whether their digests are the published ones."""
    parts = []
    for file in weight_files(source.path):
        digest = sha256_of(file)
        is_head = kind == "head" and git_blob_id(file) in _HEAD_BLOBS
        is_published = is_head or digest in ESM2_3B_FILES
        verdict = "as published" if is_published else "no published digest is known of it"
        parts.append(f"{file.name} sha256 {digest} ({verdict})")
    return ", ".join(parts)


def _tokenizer(dna: Path) -> bytes:
    """Return the tokenizer that lies beside DNABERT-S's weights."""
    path = (dna if dna.is_dir() else dna.parent) / _TOKENIZER
    try:
        content = path.read_bytes()
        json.loads(content)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: needed beside DNABERT-S's weights; get it too") from error
    return content


def _written(
    place: Path, description: Manifest, weights: dict[str, dict[str, Tensor]], tokenizer: bytes
) -> Bundle:
    """Write a bundle beside its place and move it there whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        with torch.no_grad():
            write_bundle(beside, description, weights, tokenizer)
        beside.chmod(0o755)
        beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return load_bundle(place, is_checked=True)  # its digests were taken from the files just now
