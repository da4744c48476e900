"""What a run is bound to: two runs with equal bindings give the same bytes."""

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from virnucpro.errors import InputError
from virnucpro.sequences.fragments import Source
from virnucpro.sequences.reader import STDIN

#: How much of an input's beginning its fingerprint covers. Changes further on are found block by
#: block, since every shard holds the digest of its records.
_HEAD_BYTES = 1 << 20


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input file as the run saw it first.

    Attributes:
        path: as given.
        bytes: its size; 0 for a stream.
        head_sha256: digest of its first MiB; empty for a stream.
        mate: 1 or 2 where the mates of pairs are in two files; 0 of a file that is given alone.
    """

    path: str
    bytes: int
    head_sha256: str
    mate: int = 0

    @classmethod
    def of(cls, path: str, mate: int = 0) -> "Input":
        """Take the fingerprint of a file."""
        if path == STDIN or not Path(path).is_file():
            return cls(path, 0, "", mate)
        try:
            with Path(path).open("rb") as file:
                digest = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
                return cls(path, os.fstat(file.fileno()).st_size, digest, mate)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); make it readable"
            ) from error


def _inputs_of(source: Source) -> list[Input]:
    if isinstance(source, str):
        return [Input.of(source)]
    return [Input.of(path, mate) for mate, path in enumerate(source, start=1)]


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run computes; two runs with equal bindings give the same bytes.

    Attributes:
        version: of virnucpro.
        inputs: in the order they are read.
        command: which computation.
        bundle: name and version of the weights, for people.
        bundle_sha256: digest of their manifest.
        precision: the encoders' arithmetic.
        device: kind of device.
        torch: version of PyTorch.
        settings: of the command.
    """

    version: str
    inputs: list[Input]
    command: str
    bundle: str
    bundle_sha256: str
    precision: str
    device: str
    torch: str
    settings: dict[str, int | str | bool]


def bind(
    command: str,
    inputs: Sequence[Source],
    settings: dict[str, int | str | bool],
    **weights_and_device: str,
) -> Binding:
    """Take the fingerprints of the inputs and put the versions beside the settings.

    Args:
        command: which computation.
        inputs: in the order they are read.
        settings: of the command.
        weights_and_device: `bundle`, `bundle_sha256`, `precision` and `device`.
    """
    return Binding(
        version=version("virnucpro"),
        inputs=[found for source in inputs for found in _inputs_of(source)],
        command=command,
        torch=str(torch.__version__),
        settings=settings,
        **weights_and_device,
    )


def differences(old: Binding, new: Binding) -> list[str]:
    """Name what differs, in words."""
    found = [_input_difference(old.inputs, new.inputs)] if old.inputs != new.inputs else []
    before, after = _flat(old), _flat(new)
    return found + [
        f"{name} was {before.get(name)}, is {after.get(name)}"
        for name in before | after
        if before.get(name) != after.get(name)
    ]


def _flat(binding: Binding) -> dict[str, object]:
    """Return all but the inputs, by name."""
    fields = [name for name in Binding.__struct_fields__ if name not in ("inputs", "settings")]
    return {**{name: getattr(binding, name) for name in fields}, **binding.settings}


def _input_difference(old: list[Input], new: list[Input]) -> str:
    before, after = (" ".join(map(_named, inputs)) for inputs in (old, new))
    if before != after:
        return f"input was {before}, is {after}"
    changed = next(b for a, b in zip(old, new, strict=True) if a != b)
    return f"input {changed.path} has changed since"


def _named(given: Input) -> str:
    """Return a file as it was given."""
    return f"-{given.mate} {given.path}" if given.mate else given.path
