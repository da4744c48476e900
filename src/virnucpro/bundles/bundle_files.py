"""The files of a bundle or of a lone encoder: checked against a manifest, read, written."""

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

from virnucpro.bundles.foreign import (
    LONGEST_TOKENIZER,
    check_header,
    read_short,
    regular_size,
)
from virnucpro.bundles.manifest import (
    MANIFEST_FILE,
    EncoderManifest,
    File,
    Manifest,
    parse_manifest,
)
from virnucpro.bundles.registry import sha256_of
from virnucpro.encoders import DnaTokenizer
from virnucpro.errors import BundleError, reading
from virnucpro.files import replacing, write_whole

#: Most bytes of a manifest; that of `compact`, with its calibration, has 27 kB.
_LONGEST_MANIFEST = 1 << 22
#: Names that safetensors gives the floating-point types weights may have.
_FLOATS = ("F16", "BF16", "F32")


class Linked(NamedTuple):
    """A file of another directory, to be linked and not written again.

    Attributes:
        path: the file.
        file: what it must be.
        is_checked: whether its digest is compared elsewhere, or later; its size always is.
    """

    path: Path
    file: File
    is_checked: bool = False


#: What a file is made of: tensors, bytes, or a file that is there.
Content = Mapping[str, Tensor] | bytes | Linked


def read_manifest(directory: Path) -> tuple[Manifest | EncoderManifest, str]:
    """Return what a directory says of itself, and the sha256 of that.

    Raises:
        BundleError: the manifest is missing or invalid.
    """
    where = directory / MANIFEST_FILE
    try:
        content = read_short(where, _LONGEST_MANIFEST)
    except OSError as error:
        raise BundleError(
            f"{directory}: not a bundle ({where.name}: {error.strerror}); give a bundle's directory"
        ) from error
    return parse_manifest(content, str(where)), hashlib.sha256(content).hexdigest()


def check_files(directory: Path, expected: Mapping[str, File]) -> None:
    """Compare size and digest of files with those that a manifest says.

    Raises:
        BundleError: a file is missing or differs.
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

    Memory holds at most one tensor in addition to those returned.

    Args:
        where: the file.
        expected: the tensors it must hold, and no other: names, shapes, and whether floating
            point (of any width) or int64; values do not matter.
        device: device to read to (default: the CPU).
        dtype: type to convert floating-point tensors to (default: their own).
        names: names of the tensors to read (default: all).

    Raises:
        BundleError: names, shapes or types differ, before any tensor is read.
    """
    with reading(where, "get the bundle again", BundleError):
        check_header(where)
        weights: Any = safe_open(where, framework="pt")
        found = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
        _check_tensors(str(where), found, expected)
    kept: dict[str, Tensor] = {}
    for name in found if names is None else names:
        with reading(where, "get the bundle again", BundleError):
            mapped = weights.get_tensor(name)
        kept[name] = _kept(mapped, device, dtype)  # a device's memory may run short: not its fault
    return kept


def write_file(path: Path, content: Content) -> File:
    """Write one file, complete or not at all, and return its digest and size.

    Raises:
        BundleError: a linked file is not the expected one.
        OSError: the disk is full, or the directory cannot be written.
    """
    if isinstance(content, Linked):
        _link(content.path.resolve(), path)
        (_check_size if content.is_checked else _check_file)(path, content.file)
        return content.file
    if isinstance(content, bytes):
        write_whole(path, content)
    else:
        with replacing(path) as partial:
            mode = stat.S_IMODE(partial.stat().st_mode)  # safetensors lets only the owner read it
            try:
                save_file(_apart(content), partial)
            except SafetensorError as error:
                raise OSError(str(error)) from error
            partial.chmod(mode)
    return File(sha256=sha256_of(path), bytes=path.stat().st_size)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that share no memory, because safetensors refuses to write shared memory."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in places else tensor.contiguous()
        places.add(place)
    return found


def _link(source: Path, target: Path) -> None:
    """Link a file to a second name, or copy it if it cannot be linked (another file system)."""
    with reading(source, "get the bundle again", BundleError):
        regular_size(source)
    with replacing(target) as partial:
        partial.unlink()
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def read_tokenizer(where: Path, vocabulary: int) -> DnaTokenizer:
    """Build the tokenizer of a DNA encoder with `vocabulary` tokens.

    Raises:
        BundleError: the file is not a tokenizer, or has more tokens than the encoder.
    """
    with reading(where, "get it again", BundleError):
        tokenizer = DnaTokenizer(read_short(where, LONGEST_TOKENIZER), str(where))
    if tokenizer.vocabulary_size > vocabulary:
        raise BundleError(
            f"{where}: token ids up to {tokenizer.vocabulary_size - 1} where the manifest's "
            f"DNA encoder has a vocabulary of {vocabulary}; get the bundle again"
        )
    return tokenizer


def check_sizes(directory: Path, expected: Mapping[str, File]) -> None:
    """Compare the sizes of files with those that a manifest says; see `check_files`."""
    for name, file in expected.items():
        _check_size(directory / name, file)


def _check_size(path: Path, expected: File) -> None:
    with reading(path, "get the bundle again", BundleError):
        size = regular_size(path)
    if size != expected.bytes:
        raise BundleError(
            f"{path}: {size} bytes where the manifest says {expected.bytes}; "
            "the bundle is damaged, get it again"
        )


def _check_file(path: Path, expected: File) -> None:
    _check_size(path, expected)
    with reading(path, "get the bundle again", BundleError):
        digest = sha256_of(path)
    if digest != expected.sha256:
        raise BundleError(
            f"{path}: its sha256 is not the manifest's; the bundle is damaged, get it again"
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
                "get the bundle again"
            )
        dtype = found[name].get_dtype()
        allowed = _FLOATS if expected[name].is_floating_point() else ("I64",)
        if dtype not in allowed:
            raise BundleError(
                f"{where}: {name} is {dtype} where {' or '.join(allowed)} is needed; "
                "get the bundle again"
            )
