"""What a run is bound to: two runs with equal bindings give the same bytes."""

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from virnucpro.errors import InputError
from virnucpro.sequences.reader import STDIN

#: How much of an input's beginning its fingerprint covers. Changes further on are found block by
#: block, since every shard holds the digest of its records.
_HEAD_BYTES = 1 << 20


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input file as the run saw it first.

    Attributes:
        path: as given.
        bytes: its size; 0 for a stream.
        head_sha256: digest of its first MiB; empty for a stream.
    """

    path: str
    bytes: int
    head_sha256: str

    @classmethod
    def of(cls, path: str) -> "Input":
        """Take the fingerprint of a file."""
        if path == STDIN or not Path(path).is_file():
            return cls(path, 0, "")
        try:
            with Path(path).open("rb") as file:
                digest = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
                return cls(path, os.fstat(file.fileno()).st_size, digest)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); make it readable"
            ) from error


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run computes; two runs with equal bindings give the same bytes.

    Attributes:
        version: of virnucpro.
        inputs: in the order they are read.
        bundle: name and version, for people.
        bundle_sha256: digest of the bundle's manifest.
        chunk_length: bases.
        frames: how frames are drawn.
        precision: the encoders' arithmetic.
        device: kind of device.
        torch: version of PyTorch.
        block_chunks: most chunks of a block.
        legacy: whether the original's files are written too.
        compressed: whether the tables are.
    """

    version: str
    inputs: list[Input]
    bundle: str
    bundle_sha256: str
    chunk_length: int
    frames: str
    precision: str
    device: str
    torch: str
    block_chunks: int
    legacy: bool
    compressed: bool


def bind(inputs: Sequence[str], **settings: object) -> Binding:
    """Take the fingerprints of the inputs and put the versions beside the settings."""
    return msgspec.convert(
        {
            "version": version("virnucpro"),
            "inputs": [msgspec.to_builtins(Input.of(path)) for path in inputs],
            "torch": str(torch.__version__),
            **settings,
        },
        Binding,
    )


def differences(old: Binding, new: Binding) -> list[str]:
    """Name what differs, in words."""
    found = []
    for name in Binding.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before != after and name == "inputs":
            found.append(_input_difference(before, after))
        elif before != after:
            found.append(f"{name} was {before}, is {after}")
    return found


def _input_difference(old: list[Input], new: list[Input]) -> str:
    if [x.path for x in old] != [x.path for x in new]:
        before, after = (" ".join(x.path for x in inputs) for inputs in (old, new))
        return f"input was {before}, is {after}"
    changed = next(b for a, b in zip(old, new, strict=True) if a != b)
    return f"input {changed.path} has changed since"
