"""Finding, checking, reading and writing bundles."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from virnucpro.bundles import manifest as layout
from virnucpro.bundles.manifest import File, Manifest, parse_manifest
from virnucpro.errors import BundleError

#: Bundles inside the package.
EMBEDDED = {"compact": Path(__file__).parent / "compact"}
#: Bundles of published weights: known by name, not part of the package.
PUBLISHED = ("virnucpro-300", "virnucpro-500")
DEFAULT = "compact"


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

    def tensors(self, file: str, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Read one safetensors file on the CPU.

        Args:
            file: its name.
            expected: name and shape of every tensor it must hold, and no other.

        Raises:
            BundleError: when names or shapes differ, before any tensor is read.
        """
        where = self.path / file
        try:
            with safe_open(where, framework="pt") as weights:
                names = list(weights.keys())
                found = {name: tuple(weights.get_slice(name).get_shape()) for name in names}
                _compare_shapes(str(where), found, expected)
                return {name: weights.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{where}: not a readable safetensors file ({error})") from error

    def tokenizer_json(self) -> bytes:
        """Return the content of the DNA tokenizer's file."""
        return (self.path / layout.TOKENIZER_FILE).read_bytes()


def load_bundle(name_or_path: str | os.PathLike[str] = DEFAULT) -> Bundle:
    """Find a bundle, check its manifest and the digest of every file.

    Args:
        name_or_path: the name of an embedded bundle, or a bundle's directory.

    Raises:
        BundleError: when there is no such bundle, or it is incomplete or damaged.
    """
    path = EMBEDDED.get(str(name_or_path), Path(name_or_path))
    if not path.is_dir():
        raise BundleError(_unknown(str(name_or_path)))
    where = path / layout.MANIFEST_FILE
    try:
        content = where.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: not a bundle ({where.name}: {error.strerror})") from error
    manifest = parse_manifest(content, str(where))
    for name, file in manifest.files.items():
        _check_file(path / name, file)
    return Bundle(path, manifest, hashlib.sha256(content).hexdigest())


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
    contents = {
        name: save({k: t.contiguous() for k, t in tensors.items()})
        for name, tensors in weights.items()
    }
    contents[layout.TOKENIZER_FILE] = tokenizer
    files = {}
    for name, content in contents.items():
        (directory / name).write_bytes(content)
        files[name] = File(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    described = msgspec.structs.replace(description, files=files)
    text = msgspec.json.format(msgspec.json.encode(described), indent=2)
    (directory / layout.MANIFEST_FILE).write_bytes(text + b"\n")
    return load_bundle(directory)


def _unknown(name: str) -> str:
    if name in PUBLISHED:
        return (
            f"bundle {name!r} needs the published weights, which this version cannot fetch; "
            f"give the directory of a bundle, or {DEFAULT!r}"
        )
    return f"no bundle {name!r}: neither {', '.join(map(repr, EMBEDDED))} nor a directory"


def _check_file(path: Path, expected: File) -> None:
    try:
        if path.stat().st_size != expected.bytes:
            raise BundleError(
                f"{path}: {path.stat().st_size} bytes where the manifest says {expected.bytes}; "
                "the bundle is damaged, get it anew"
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    if digest != expected.sha256:
        raise BundleError(
            f"{path}: its sha256 is not the manifest's; the bundle is damaged, get it anew"
        )


def _compare_shapes(
    where: str, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise BundleError(
                f"{where}: {name} is {found.get(name, 'missing')} where the manifest's sizes "
                f"need {expected.get(name, 'no such tensor')}"
            )
