"""The files of a bundle or of a lone encoder: checked against a manifest, read, written."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from virnucpro.bundles.manifest import (
    MANIFEST_FILE,
    EncoderManifest,
    File,
    Manifest,
    parse_manifest,
)
from virnucpro.bundles.registry import sha256_of
from virnucpro.encoders import DnaTokenizer
from virnucpro.errors import BundleError
from virnucpro.storage import write_whole

#: Names that safetensors gives the floating-point types weights may have.
_FLOATS = ("F16", "BF16", "F32")


class Linked(NamedTuple):
    """A file of another directory, to be linked and not written anew.

    Attributes:
        path: the file.
        file: what it must be.
    """

    path: Path
    file: File


#: What a file is made of: tensors, bytes, or a file that is there.
Content = Mapping[str, Tensor] | bytes | Linked


def read_manifest(directory: Path) -> tuple[Manifest | EncoderManifest, str]:
    """Return what a directory says of itself, and the sha256 of that.

    Raises:
        BundleError: when there is no manifest, or a bad one.
    """
    where = directory / MANIFEST_FILE
    try:
        _regular_size(where)
        content = where.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{directory}: not a bundle ({where.name}: {error.strerror}); give a bundle's directory"
        ) from error
    return parse_manifest(content, str(where)), hashlib.sha256(content).hexdigest()


def check_files(directory: Path, expected: Mapping[str, File]) -> None:
    """Compare size and digest of files with those that a manifest says.

    Raises:
        BundleError: when one is missing or differs.
    """
    for name, file in expected.items():
        _check_file(directory / name, file)


def read_tensors(
    where: Path,
    expected: Mapping[str, Tensor],
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    names: Iterable[str] | None = None,
) -> dict[str, Tensor]:
    """Read one safetensors file, into memory of its own.

    Never more than one tensor is held beside those returned.

    Args:
        where: the file.
        expected: the tensors it must hold, and no other: names, shapes, and whether floating
            point (of any width) or int64; values do not matter.
        device: where to; by default the CPU.
        dtype: what floating-point tensors become; by default they stay what they are.
        names: of those to read; by default all.

    Raises:
        BundleError: when names, shapes or types differ, before any tensor is read.
    """
    try:
        with safe_open(where, framework="pt") as weights:
            found = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
            _check_tensors(str(where), found, expected)
            chosen = list(found if names is None else names)
            return {name: _kept(weights.get_tensor(name), device, dtype) for name in chosen}
    except (SafetensorError, OSError) as error:
        raise BundleError(
            f"{where}: not a readable safetensors file ({error}); get the bundle anew"
        ) from error


def write_file(path: Path, content: Content) -> File:
    """Write one file, which is there whole or not at all, and describe it.

    Raises:
        BundleError: when what is linked is not what it should be.
        OSError: when there is no space, or no right to write.
    """
    if isinstance(content, Linked):
        _link(content.path.resolve(), path)
        _check_file(path, content.file)
        return content.file
    if isinstance(content, bytes):
        write_whole(path, content)
    else:
        beside = path.with_name(f"{path.name}.partial")
        beside.unlink(missing_ok=True)
        beside.touch()
        mode = stat.S_IMODE(beside.stat().st_mode)  # safetensors makes it the owner's alone
        try:
            save_file({name: tensor.contiguous() for name, tensor in content.items()}, beside)
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error), str(path)) from error
        beside.chmod(mode)
        beside.replace(path)
    return File(sha256=sha256_of(path), bytes=path.stat().st_size)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where that cannot be, as on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read_tokenizer(where: Path, vocabulary: int) -> DnaTokenizer:
    """Build the tokenizer of a DNA encoder with so many tokens.

    Raises:
        BundleError: when the file is no tokenizer, or one of more tokens than the encoder has.
    """
    try:
        tokenizer = DnaTokenizer(where.read_bytes())
    except ValueError as error:
        raise BundleError(f"{where}: {error}; get the bundle anew") from error
    if tokenizer.vocabulary_size > vocabulary:
        raise BundleError(
            f"{where}: token ids up to {tokenizer.vocabulary_size - 1} where the manifest's "
            f"DNA encoder has a vocabulary of {vocabulary}; get the bundle anew"
        )
    return tokenizer


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
