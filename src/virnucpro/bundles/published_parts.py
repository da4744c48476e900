"""The parts of a bundle as they are given: published weights, or an encoder that was added."""

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
    is_known,
    judge,
    judge_again,
    say,
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
#: Kinds of the parts of a bundle -> what they are called.
_NEEDED = {"protein": "protein encoder", "dna": "DNA encoder", "head": "head"}
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Given:
    """What was given and what it is; its weights are not read yet.

    Attributes:
        path: where it lies.
        kind: kind of the encoder, or `head`.
        label: title of the encoder's architecture, or `HEAD`.
        state: published weights, mapped.
        recognised: what the published weights of an encoder are.
        manifest: manifest of an encoder that was added, which has no `state`.
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
        path: where it comes from.
        sizes: sizes of the encoder, or a `HeadSize`.
        width: how many numbers of a frame an encoder gives, or a head takes.
        contents: its files.
        said: provenance.
    """

    path: Path
    sizes: Any
    width: int
    contents: Mapping[str, Content]
    said: str


def identify(given: str | os.PathLike[str]) -> Given:
    """Tell what was given: an added encoder by its manifest, weights by the tensors' names.

    Raises:
        BundleError: when it is none of these, or not there.
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
    """Tell what files are; return the protein encoder, the DNA encoder and the head among them.

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
    """Convert an encoder's weights, or link those of one that was added.

    Args:
        given: an encoder.
        published: to whose digests it is held; None where any will do.

    Raises:
        BundleError: when the weights are damaged, or others than those recorded.
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
    said = judge(files, published)
    if config is None and found.layout.needs and not others:
        said += f"; no config.json says otherwise: computed as {given.label} is published"
    return Part(path, sizes, sizes.width, contents, said)


def read_head(given: Given) -> Part:
    """Check the weights of a head.

    Raises:
        BundleError: when they are not those of a head.
    """
    if given.kind != "head":
        raise BundleError(
            f"{given.path}: no head but {given.label}; give one such as 500_model.pth"
        )
    sizes, state = convert_head(given.state, str(given.path))
    said = []
    for file in weight_files(given.path):
        verdict = UNKNOWN if chunk_length_of(file) is None else AS_PUBLISHED
        said.append(f"{file.name} {say(sha256_of(file), verdict)}")
    inputs = state["hidden_layer.weight"].shape[1]
    return Part(given.path, sizes, inputs, {HEAD_FILE: state}, ", ".join(said))


def chunk_length_of(head: Path) -> int | None:
    """Return the chunk length for which a head was trained; of published ones it is known."""
    lengths = {known.head_blob: known.chunk_length for known in PUBLISHED.values()}
    return lengths.get(git_blob_id(head)) if head.is_file() else None


def _added(path: Path, manifest: EncoderManifest, published: PublishedEncoder | None) -> Part:
    said = judge_again(manifest.said)
    if published is not None and not is_known(said):
        raise BundleError(
            f"{path}: was not made of the published files; fetch them, or give another name"
        )
    linked = {name: Linked(path / name, file) for name, file in manifest.files.items()}
    return Part(path, manifest.encoder, manifest.encoder.width, linked, said)


def _tokenizer(path: Path, vocabulary: int) -> bytes:
    """Return the tokenizer that lies beside DNABERT-S's weights."""
    if not path.exists():
        raise BundleError(f"{path}: needed beside DNABERT-S's weights; get it too")
    read_tokenizer(path, vocabulary)
    return read_short(path, LONGEST_TOKENIZER)
