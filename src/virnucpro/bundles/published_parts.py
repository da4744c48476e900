"""The parts of a new bundle: published weights, or an encoder that was added before."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor

from virnucpro.bundles.architectures import Recognised, recognise
from virnucpro.bundles.bundle_files import Content, Linked, read_tokenizer
from virnucpro.bundles.convert import convert_encoder, convert_head, narrow
from virnucpro.bundles.digests import (
    AS_PUBLISHED,
    UNKNOWN,
    described,
    is_known,
    judge,
    judge_again,
)
from virnucpro.bundles.foreign import LONGEST_TOKENIZER, read_short
from virnucpro.bundles.manifest import (
    ENCODER_FILES,
    HEAD_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    EncoderManifest,
    Kind,
)
from virnucpro.bundles.registry import (
    ENCODERS,
    PUBLISHED,
    PublishedEncoder,
    git_blob_id,
    sha256_of,
)
from virnucpro.bundles.store import bundle_path
from virnucpro.bundles.stored_encoder import find_encoder, split_name
from virnucpro.bundles.weights import read_config, read_weights, weight_files
from virnucpro.encoders.table import spec_of
from virnucpro.errors import BundleError, reading

#: Key of a head in the provenance.
HEAD = "head"
#: Kind of a part of a bundle -> its name in messages.
_NEEDED = {"protein": "protein encoder", "dna": "DNA encoder", "head": "head"}
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Given:
    """A part that the user gives, identified; its weights are not read yet.

    Attributes:
        path: its file or directory.
        kind: kind of the encoder, or `head`.
        label: title of the encoder's architecture, or `HEAD`.
        state: published weights, mapped; empty for an encoder that was added before.
        recognised: architecture and layout of an encoder's published weights.
        manifest: manifest of an encoder that was added before.
    """

    path: Path
    kind: Kind | Literal["head"]
    label: str
    state: dict[str, Tensor] = field(default_factory=dict)
    recognised: Recognised | None = None
    manifest: EncoderManifest | None = None


@dataclass(frozen=True)
class Part:
    """An encoder or a head on its way into a directory.

    Attributes:
        path: file or directory that it comes from.
        sizes: sizes of the encoder, or a `HeadSize`.
        width: number of values per frame that an encoder returns or a head reads.
        contents: its files.
        provenance: source files, their digests, and what is known of them.
    """

    path: Path
    sizes: Any
    width: int
    contents: Mapping[str, Content]
    provenance: str


def identify(given: str | os.PathLike[str]) -> Given:
    """Identify a part: an added encoder by its manifest, weights by the names of their tensors.

    Raises:
        BundleError: the part does not exist, or is neither.
    """
    path = bundle_path(split_name(given)[0])
    if (path / MANIFEST_FILE).exists():
        manifest = find_encoder(given).manifest
        return Given(path, manifest.kind, spec_of(manifest.encoder).title, manifest=manifest)
    if path.name in ENCODERS and not path.exists():
        raise BundleError(f"{path}: is not here; type virnucpro models fetch {path.name}")
    state = read_weights(path)
    if "hidden_layer.weight" in state:
        return Given(path, "head", HEAD, state)
    found = recognise(state, str(path))
    return Given(path, cast("Kind", found.spec.reads), found.spec.title, state, found)


def all_three(files: Sequence[str | os.PathLike[str]]) -> list[Given]:
    """Identify three files; return the protein encoder, the DNA encoder and the head.

    Raises:
        BundleError: one is missing or given twice.
    """
    found: dict[str, Given] = {}
    for given in map(identify, files):
        if given.kind in found:
            what, other = _NEEDED[given.kind], found[given.kind].path
            raise BundleError(f"{given.path}: a second {what} in addition to {other}; give one")
        found[given.kind] = given
    missing = [what for kind, what in _NEEDED.items() if kind not in found]
    if missing:
        raise BundleError(f"no {' and no '.join(missing)} among the files; give all three parts")
    return [found[kind] for kind in _NEEDED]


def read_encoder(given: Given, published: PublishedEncoder | None) -> Part:
    """Convert an encoder's weights, or link those of an encoder that was added before.

    Args:
        given: an encoder.
        published: published encoder whose digests the files must have; None if any are accepted.

    Raises:
        BundleError: the weights are damaged, or are not the recorded ones.
    """
    if given.manifest is not None:
        return _added(given.path, given.manifest, published)
    path, found = given.path, given.recognised
    if found is None or given.kind == "head":
        raise BundleError(f"{path}: no encoder but a head; give an encoder")
    tokenizer = (path if path.is_dir() else path.parent) / _TOKENIZER
    config = read_config(path)
    with reading(path, "get it again", BundleError):
        sizes, state = convert_encoder(found, given.state, config, str(path))
        narrow(state)
    weights, *others = ENCODER_FILES[given.kind]
    contents: dict[str, Content] = {weights: state}
    files = weight_files(path)
    if TOKENIZER_FILE in others:
        contents[TOKENIZER_FILE] = _tokenizer(tokenizer, sizes.vocabulary)
        files = [*files, tokenizer]
    provenance = judge(files, published)
    if config is None and found.layout.needs and not others:
        provenance += f"; no config.json says otherwise: computed as {given.label} is published"
    return Part(path, sizes, sizes.width, contents, provenance)


def read_head(given: Given) -> Part:
    """Check the weights of a head.

    Raises:
        BundleError: they are not the weights of a head.
    """
    if given.kind != "head":
        raise BundleError(
            f"{given.path}: no head but {given.label}; give one such as 500_model.pth"
        )
    sizes, state = convert_head(given.state, str(given.path))
    provenance = []
    for file in weight_files(given.path):
        verdict = UNKNOWN if chunk_length_of(file) is None else AS_PUBLISHED
        provenance.append(f"{file.name} {described(sha256_of(file), verdict)}")
    inputs = state["hidden_layer.weight"].shape[1]
    return Part(given.path, sizes, inputs, {HEAD_FILE: state}, ", ".join(provenance))


def chunk_length_of(head: Path) -> int | None:
    """Return the chunk length that a published head was trained for, or None for other heads."""
    lengths = {known.head_blob: known.chunk_length for known in PUBLISHED.values()}
    return lengths.get(git_blob_id(head)) if head.is_file() else None


def _added(path: Path, manifest: EncoderManifest, published: PublishedEncoder | None) -> Part:
    provenance = judge_again(manifest.source_files)
    if published is not None and not is_known(provenance):
        raise BundleError(
            f"{path}: was not made of the published files; fetch them, or give another name"
        )
    linked = {name: Linked(path / name, file) for name, file in manifest.files.items()}
    return Part(path, manifest.encoder, manifest.encoder.width, linked, provenance)


def _tokenizer(path: Path, vocabulary: int) -> bytes:
    """Return the tokenizer in the folder of DNABERT-S's weights."""
    if not path.exists():
        raise BundleError(f"{path}: is missing; DNABERT-S needs it next to its weights; get it too")
    read_tokenizer(path, vocabulary)
    return read_short(path, LONGEST_TOKENIZER)
