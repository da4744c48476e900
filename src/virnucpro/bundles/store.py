"""Finding, checking, reading and writing bundles."""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from virnucpro.bundles import manifest as layout
from virnucpro.bundles.manifest import File, Manifest, parse_manifest
from virnucpro.bundles.registry import DNABERT_S, ESM2_3B, HEADS, PUBLISHED, sha256_of
from virnucpro.encoders import DnaTokenizer
from virnucpro.errors import BundleError
from virnucpro.storage import write_whole

#: Bundles inside the package.
EMBEDDED = {"compact": Path(__file__).parent / "compact"}
DEFAULT = "compact"
#: Names that safetensors gives the floating-point types weights may have.
_FLOATS = ("F16", "BF16", "F32")


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
            BundleError: when one is missing or differs.
        """
        for name, file in self.manifest.files.items():
            _check_file(self.path / name, file)

    def tensors(
        self,
        file: str,
        expected: Mapping[str, Tensor],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> dict[str, Tensor]:
        """Read one safetensors file, into memory of its own.

        Never more than one tensor is held beside those returned.

        Args:
            file: its name.
            expected: the tensors it must hold, and no other: names, shapes, and whether floating
                point (of any width) or int64; values do not matter.
            device: where to; by default the CPU.
            dtype: what floating-point tensors become; by default they stay what they are.

        Raises:
            BundleError: when names, shapes or types differ, before any tensor is read.
        """
        where = self.path / file
        try:
            with safe_open(where, framework="pt") as weights:
                found = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
                _check_tensors(str(where), found, expected)
                return {name: _kept(weights.get_tensor(name), device, dtype) for name in found}
        except (SafetensorError, OSError) as error:
            raise BundleError(
                f"{where}: not a readable safetensors file ({error}); get the bundle anew"
            ) from error

    def tokenizer_json(self) -> bytes:
        """Return the content of the DNA tokenizer's file."""
        return (self.path / layout.TOKENIZER_FILE).read_bytes()

    def tokenizer(self) -> DnaTokenizer:
        """Build the DNA tokenizer.

        Raises:
            BundleError: when its file is no tokenizer, or one of more tokens than the encoder has.
        """
        where = self.path / layout.TOKENIZER_FILE
        try:
            tokenizer = DnaTokenizer(self.tokenizer_json())
        except ValueError as error:
            raise BundleError(f"{where}: {error}; get the bundle anew") from error
        known = self.manifest.dna_encoder.vocabulary
        if tokenizer.vocabulary_size > known:
            raise BundleError(
                f"{where}: token ids up to {tokenizer.vocabulary_size - 1} where the manifest's "
                f"dna_encoder has a vocabulary of {known}; get the bundle anew"
            )
        return tokenizer


def load_bundle(
    name_or_path: str | os.PathLike[str] = DEFAULT, *, is_checked: bool = False
) -> Bundle:
    """Find a bundle, check its manifest and the digest of every file.

    Args:
        name_or_path: the name of an embedded bundle, or a bundle's directory.
        is_checked: whether the digests are compared elsewhere, as by the process that started this
            one, or later, with `Bundle.check`.

    Raises:
        BundleError: when there is no such bundle, or it is incomplete or damaged.
    """
    path = bundle_path(name_or_path)
    if not path.is_dir():
        raise BundleError(_unknown(str(name_or_path)))
    where = path / layout.MANIFEST_FILE
    try:
        _regular_size(where)
        content = where.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path}: not a bundle ({where.name}: {error.strerror}); give a bundle's directory"
        ) from error
    bundle = Bundle(path, parse_manifest(content, str(where)), hashlib.sha256(content).hexdigest())
    if not is_checked:
        bundle.check()
    return bundle


def home() -> Path:
    """Return where bundles that were added lie: `$VIRNUCPRO_HOME`, else the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("VIRNUCPRO_HOME") or Path(data) / "virnucpro" / "bundles")


def bundle_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return where a bundle lies: an embedded one, one that was added, or a directory."""
    name = os.fspath(name_or_path)
    if name in EMBEDDED:
        return EMBEDDED[name]
    added = home() / name
    return added if name == Path(name).name and added.is_dir() else Path(name)


def added_bundles() -> list[str]:
    """Return the names of the bundles that were added."""
    return sorted(path.parent.name for path in home().glob("[!.]*/" + layout.MANIFEST_FILE))


def write_bundle(
    directory: Path,
    description: Manifest,
    weights: Mapping[str, Mapping[str, Tensor]],
    tokenizer: bytes,
) -> Bundle:
    """Write a new bundle and load it back.

    Args:
        directory: made when missing; files of a bundle in it are replaced.
        description: the manifest; its `files` are filled in here.
        weights: the tensors of each safetensors file.
        tokenizer: content of the DNA tokenizer's file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / layout.TOKENIZER_FILE, tokenizer)
    for name, tensors in weights.items():
        beside = directory / f"{name}.partial"
        save_file({k: t.contiguous() for k, t in tensors.items()}, beside)
        beside.replace(directory / name)
    files = {name: _file(directory / name) for name in (layout.TOKENIZER_FILE, *weights)}
    write_manifest(directory, msgspec.structs.replace(description, files=files))
    return load_bundle(directory, is_checked=True)


def _file(path: Path) -> File:
    return File(sha256=sha256_of(path), bytes=path.stat().st_size)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `bundle.json`."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_whole(directory / layout.MANIFEST_FILE, text + b"\n")


def _unknown(name: str) -> str:
    published = PUBLISHED.get(name)
    if published is not None:
        return (
            f"bundle {name!r} needs the published weights, which are not here: type virnucpro "
            f"models fetch {name}, or without network get {ESM2_3B}, {DNABERT_S} and "
            f"{published.head} of {HEADS} elsewhere and type virnucpro models add {name} "
            f"ESM2_DIRECTORY DNABERT-S_DIRECTORY {published.head}"
        )
    known = ", ".join(map(repr, [*EMBEDDED, *added_bundles()]))
    return f"no bundle {name!r}: give {known} or a bundle's directory"


def _regular_size(path: Path) -> int:
    """Return a file's size; OSError for what may block when it is opened, such as a FIFO."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return status.st_size


def _check_file(path: Path, expected: File) -> None:
    try:
        if (size := _regular_size(path)) != expected.bytes:
            raise BundleError(
                f"{path}: {size} bytes where the manifest says {expected.bytes}; "
                "the bundle is damaged, get it anew"
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); get the bundle anew"
        ) from error
    if digest != expected.sha256:
        raise BundleError(
            f"{path}: its sha256 is not the manifest's; the bundle is damaged, get it anew"
        )


def _kept(mapped: Tensor, device: torch.device | None, dtype: torch.dtype | None) -> Tensor:
    """Copy a tensor that is mapped onto a file, converting it where it goes."""
    moved = mapped.to(device or mapped.device)
    if dtype is not None and mapped.is_floating_point():
        moved = moved.to(dtype)
    return mapped.clone() if moved is mapped else moved


def _check_tensors(where: str, found: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    for name in sorted(found.keys() | expected.keys()):
        shape = tuple(found[name].get_shape()) if name in found else "missing"
        needed = tuple(expected[name].shape) if name in expected else "no such tensor"
        if shape != needed:
            raise BundleError(
                f"{where}: {name} is {shape} where the manifest's sizes need {needed}; "
                "get the bundle anew"
            )
        dtype = found[name].get_dtype()
        allowed = _FLOATS if expected[name].is_floating_point() else ("I64",)
        if dtype not in allowed:
            raise BundleError(
                f"{where}: {name} is {dtype} where {' or '.join(allowed)} is needed; "
                "get the bundle anew"
            )
