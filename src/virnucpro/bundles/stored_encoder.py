"""One encoder on disk: of a lone encoder's directory, or of a whole bundle."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

from virnucpro.bundles.bundle_files import check_files, read_manifest, read_tokenizer
from virnucpro.bundles.manifest import (
    DNA_FILE,
    ENCODER_FILES,
    TOKENIZER_FILE,
    EncoderManifest,
    File,
    Kind,
    Manifest,
)
from virnucpro.bundles.registry import ENCODERS, PUBLISHED
from virnucpro.bundles.store import (
    EMBEDDED,
    Bundle,
    StoredEncoder,
    added_bundles,
    added_encoders,
    bundle_path,
    load_bundle,
    unknown_bundle,
)
from virnucpro.encoders import DnaTokenizer
from virnucpro.encoders.network import TransformerConfig
from virnucpro.errors import BundleError


@dataclass(frozen=True)
class Model:
    """One encoder on disk.

    Attributes:
        name: name that the user gave.
        kind: what it reads.
        config: its sizes.
        path: its directory.
        sha256: digest of the directory's `bundle.json`.
        files: digest and size of each file it needs.
    """

    name: str
    kind: Kind
    config: TransformerConfig
    path: Path
    sha256: str
    files: Mapping[str, File]

    def check(self) -> None:
        """Compare the digests of the files it needs with the manifest's.

        Raises:
            BundleError: a file is missing or differs.
        """
        check_files(self.path, self.files)

    @property
    def stored(self) -> StoredEncoder:
        """Its weights and sizes."""
        return StoredEncoder(self.path / ENCODER_FILES[self.kind][0], self.config)

    @property
    def encoders(self) -> dict[Kind, StoredEncoder]:
        """The encoder by its kind, like `Bundle.encoders`."""
        return {self.kind: self.stored}

    def tokenizer(self) -> DnaTokenizer:
        """Build the tokenizer of a DNA encoder.

        Raises:
            BundleError: the file is not a tokenizer, or has more tokens than the encoder.
        """
        return read_tokenizer(self.path / TOKENIZER_FILE, self.config.vocabulary)


def load_model(name: str | os.PathLike[str], *, is_checked: bool = False) -> Model:
    """Find one encoder, check its manifest and the digests of the files it needs.

    Args:
        name: a lone encoder's name or directory; of a whole bundle, its name or directory with
            `:protein` or `:dna` behind it, as in `compact-pair:dna`.
        is_checked: whether the digests are compared elsewhere, or later, with `Model.check`.

    Raises:
        BundleError: the encoder does not exist, or is incomplete or damaged.
    """
    path, manifest, sha256 = find_encoder(name)
    config = manifest.encoder
    model = Model(os.fspath(name), manifest.kind, config, path, sha256, manifest.files)
    if not is_checked:
        model.check()
    return model


def load(name: str | os.PathLike[str], *, is_checked: bool = False) -> Bundle | Model:
    """Find a whole bundle or one encoder, and check it; see `load_bundle` and `load_model`.

    Raises:
        BundleError: the bundle or encoder does not exist, or is incomplete or damaged.
    """
    place, kind = split_name(name)
    directory = bundle_path(place)
    is_encoder = kind is not None or place in ENCODERS
    if not is_encoder and directory.is_dir():
        is_encoder = isinstance(read_manifest(directory)[0], EncoderManifest)
    return (load_model if is_encoder else load_bundle)(name, is_checked=is_checked)


class FoundEncoder(NamedTuple):
    """An encoder on disk; its files are not checked.

    Attributes:
        path: its directory.
        manifest: manifest of the encoder alone.
        sha256: digest of the directory's `bundle.json`.
    """

    path: Path
    manifest: EncoderManifest
    sha256: str


def find_encoder(name: str | os.PathLike[str]) -> FoundEncoder:
    """Find one encoder, named as `load_model` takes it.

    Raises:
        BundleError: the encoder does not exist.
    """
    text = os.fspath(name)
    place, kind = split_name(text)
    path = bundle_path(place)
    if not path.is_dir():
        raise BundleError(_unknown(text, place))
    manifest, sha256 = read_manifest(path)
    if isinstance(manifest, Manifest):
        if kind is None and manifest.dna_encoder is not None:
            raise BundleError(f"{text}: a whole bundle; give {text}:protein or {text}:dna")
        manifest = manifest.lone(kind or "protein")
    elif kind is not None:
        raise BundleError(f"{text}: a lone encoder; leave out :{kind}")
    return FoundEncoder(path, manifest, sha256)


def split_name(name: str | os.PathLike[str]) -> tuple[str, Kind | None]:
    """Part a name from the `:protein` or `:dna` behind it."""
    text = os.fspath(name)
    place, _, behind = text.rpartition(":")
    for kind in get_args(Kind):
        if place and behind == kind:
            return place, kind
    return text, None


def _unknown(text: str, place: str) -> str:
    """Return the error for an encoder that does not exist."""
    if place in ENCODERS:
        return f"{place}: is not here; type virnucpro models fetch {place}"
    if place in PUBLISHED:
        return unknown_bundle(place)
    bundles = [
        f"{name}:{kind}"
        for name in (*EMBEDDED, *added_bundles())
        if (bundle_path(name) / DNA_FILE).exists()  # else one network reads all frames
        for kind in ENCODER_FILES
    ]
    known = ", ".join([*added_encoders(), *bundles])
    return (
        f"no encoder {text!r}: give {known}, a directory, or one to fetch (virnucpro models list)"
    )
