"""Finding, checking, reading and writing bundles."""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor

from virnucpro.bundles import manifest as layout
from virnucpro.bundles.bundle_files import (
    Content,
    check_files,
    read_manifest,
    read_tensors,
    read_tokenizer,
    write_file,
)
from virnucpro.bundles.manifest import EncoderManifest, Manifest
from virnucpro.bundles.registry import ENCODERS, HEADS, PUBLISHED
from virnucpro.encoders import DnaTokenizer, EncoderConfig
from virnucpro.errors import BundleError, reading
from virnucpro.files import remove_partial, stores, write_json

#: Bundles inside the package.
EMBEDDED = {name: Path(__file__).parent / name for name in ("compact", "compact-pair")}
DEFAULT = "compact"
#: Where bundles with another head lie, in a store.
DERIVED = ".derived"
_FILES = (
    layout.MANIFEST_FILE, layout.HEAD_FILE,
    *(name for names in layout.ENCODER_FILES.values() for name in names),
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StoredEncoder(NamedTuple):
    """An encoder on disk.

    Attributes:
        weights: file of its weights.
        config: its sizes.
    """

    weights: Path
    config: EncoderConfig


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files have the digests its manifest says.

    Attributes:
        path: its directory.
        manifest: its description.
        sha256: digest of `bundle.json`, which names the digest of every other file.
    """

    path: Path
    manifest: Manifest
    sha256: str

    def check(self) -> None:
        """Compare the digest of every file with the manifest's.

        Raises:
            BundleError: a file is missing or differs.
        """
        try:
            check_files(self.path, self.manifest.files)
        except BundleError as error:
            if self.path.parent.name != DERIVED:
                raise
            raise BundleError(f"{error}: remove {self.path}, it is then made again") from error

    @property
    def name(self) -> str:
        """The name in its manifest."""
        return self.manifest.name

    @property
    def encoders(self) -> dict[layout.Kind, StoredEncoder]:
        """Weights and sizes of its encoders, protein before DNA."""
        return {
            kind: StoredEncoder(self.path / layout.ENCODER_FILES[kind][0], config)
            for kind, config in self.manifest.encoders.items()
        }

    def tensors(
        self,
        file: str,
        expected: Mapping[str, Tensor],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        names: Iterable[str] | None = None,
    ) -> dict[str, Tensor]:
        """Read one of its safetensors files; see `bundle_files.read_tensors`."""
        return read_tensors(self.path / file, expected, device, dtype, names)

    def tokenizer(self) -> DnaTokenizer:
        """Build the DNA tokenizer.

        Raises:
            BundleError: the bundle has no DNA encoder, or its file is not a tokenizer or has more
                tokens than the encoder.
        """
        encoder = self.manifest.dna_encoder
        if encoder is None:
            raise BundleError(f"{self.path}: has no DNA encoder; give another bundle")
        return read_tokenizer(self.path / layout.TOKENIZER_FILE, encoder.vocabulary)


def load_bundle(
    name_or_path: str | os.PathLike[str] = DEFAULT, *, is_checked: bool = False
) -> Bundle:
    """Find a bundle, check its manifest and the digest of every file.

    Args:
        name_or_path: the name of an embedded bundle, or a bundle's directory.
        is_checked: whether the digests are compared elsewhere, as by the process that started this
            one, or later, with `Bundle.check`.

    Raises:
        BundleError: the bundle does not exist, or is incomplete or damaged.
    """
    path = bundle_path(name_or_path)
    if not path.is_dir():
        raise BundleError(unknown_bundle(str(name_or_path)))
    manifest, sha256 = read_manifest(path)
    if not isinstance(manifest, Manifest):
        raise BundleError(
            f"{path}: an encoder without a head; give a whole bundle, or use "
            f"virnucpro embed --model {name_or_path}"
        )
    bundle = Bundle(path, manifest, sha256)
    if not is_checked:
        bundle.check()
    return bundle


def bundle_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the directory of a bundle: an embedded one, one that was added, or a path."""
    name = os.fspath(name_or_path)
    if name in EMBEDDED:
        return EMBEDDED[name]
    with reading(name, "give a bundle's name or directory", BundleError):
        added = [store / name for store in stores()] if name == Path(name).name else []
        return next((place for place in (*added, Path(name)) if place.is_dir()), Path(name))


def check_name(name: str) -> None:
    """Refuse an invalid name of a bundle.

    Raises:
        BundleError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise BundleError(f"{name[:100]!r} is no name for a bundle; give letters, digits, . _ -")


def added_bundles() -> list[str]:
    """Return the names of the bundles that were added."""
    return [path.name for path in _added() if (path / layout.HEAD_FILE).exists()]


def added_encoders() -> list[str]:
    """Return the names of the separate encoders that were added."""
    return [path.name for path in _added() if not (path / layout.HEAD_FILE).exists()]


def directories() -> dict[str, Path]:
    """Return all directories of the stores by name, even damaged ones.

    If several stores have a name, the first store counts.
    """
    found: dict[str, Path] = {}
    for store in reversed(stores()):
        with suppress(OSError):  # the store may not exist
            found |= {path.name: path for path in store.iterdir() if _is_bundle(path)}
    return dict(sorted(found.items()))


def _added() -> list[Path]:
    """Return the directories with a manifest, which may be damaged."""
    return [path for path in directories().values() if (path / layout.MANIFEST_FILE).exists()]


def _is_bundle(path: Path) -> bool:
    """Return whether a directory has a file of a bundle; it may also hold other files."""
    is_open = not path.name.startswith(".") and path.is_dir()
    return is_open and any((path / name).exists() for name in _FILES)


def write_bundle(
    directory: Path,
    description: Manifest,
    weights: Mapping[str, Mapping[str, Tensor]],
    tokenizer: bytes | None,
) -> Bundle:
    """Write a new bundle and load it back.

    Args:
        directory: made when missing; files of a bundle in it are replaced.
        description: the manifest; its `files` are filled in here.
        weights: the tensors of each safetensors file.
        tokenizer: content of the DNA tokenizer's file, where there is a DNA encoder.
    """
    contents = {} if tokenizer is None else {layout.TOKENIZER_FILE: tokenizer}
    write_directory(directory, description, {**contents, **weights})
    return load_bundle(directory, is_checked=True)


def write_directory(
    directory: Path, description: Manifest | EncoderManifest, contents: Mapping[str, Content]
) -> None:
    """Write the files of a bundle or of a lone encoder, the manifest last.

    Args:
        directory: made when missing; files of a bundle in it are replaced.
        description: the manifest; its `files` are filled in here.
        contents: of each file.

    Raises:
        BundleError: a linked file is not the expected one.
        OSError: the disk is full, or the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    remove_partial(directory)
    files = {name: write_file(directory / name, content) for name, content in contents.items()}
    write_manifest(directory, msgspec.structs.replace(description, files=files))


def write_manifest(directory: Path, manifest: Manifest | EncoderManifest) -> None:
    """Write `bundle.json`."""
    write_json(directory / layout.MANIFEST_FILE, manifest)


def unknown_bundle(name: str) -> str:
    """Return the error for a bundle that does not exist."""
    published = PUBLISHED.get(name)
    if published is not None:
        esm2, dna = (ENCODERS[x].repository for x in (published.protein, published.dna))
        return (
            f"bundle {name!r} needs the published weights, which are not here: type virnucpro "
            f"models fetch {name}, or without network get {esm2}, {dna} and {published.head} of "
            f"{HEADS} elsewhere and type virnucpro models add {name} "
            f"ESM2_DIRECTORY DNABERT-S_DIRECTORY {published.head}"
        )
    if name in ENCODERS:
        return f"{name!r} is an encoder without a head; virnucpro embed --model {name} takes it"
    known = ", ".join(map(repr, [*EMBEDDED, *added_bundles()]))
    return f"no bundle {name!r}: give {known} or a bundle's directory"
