"""The binding of a run: two runs with equal bindings give the same bytes.

An input is identified by its content, not by the spelling or the place of its path: by its size, a
digest of its beginning, and a digest of its records, block by block. A stream is identified by its
name.
"""

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from virnucpro.errors import InputError
from virnucpro.sequences.fragments import Source
from virnucpro.sequences.reader import STDIN

#: Number of bytes at the beginning of an input that its fingerprint covers. Later changes are found
#: block by block, because every shard holds the digest of its records.
_HEAD_BYTES = 1 << 20


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input file as the run first read it.

    Attributes:
        path: path as given, for people.
        bytes: size of the file; 0 for a stream.
        head_sha256: digest of the first MiB; empty for a stream.
        mate: 1 or 2 if the mates of pairs are in two files, otherwise 0.
        place: absolute path with links resolved; empty for a stream.
    """

    path: str
    bytes: int
    head_sha256: str
    mate: int = 0
    place: str = ""

    @classmethod
    def of(cls, path: str, mate: int = 0) -> "Input":
        """Take the fingerprint of a file."""
        if path == STDIN or not Path(path).is_file():
            return cls(path, 0, "", mate)
        try:
            with Path(path).open("rb") as file:
                digest = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
                size = os.fstat(file.fileno()).st_size
            return cls(path, size, digest, mate, os.path.realpath(path))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); make it readable"
            ) from error

    @property
    def known_by(self) -> tuple[int, int, str]:
        """The values by which two inputs are compared."""
        return self.mate, self.bytes, self.head_sha256 or self.path


def _inputs_of(source: Source) -> list[Input]:
    if isinstance(source, str):
        return [Input.of(source)]
    return [Input.of(path, mate) for mate, path in enumerate(source, start=1)]


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run computes; two runs with equal bindings give the same bytes.

    Attributes:
        version: version of virnucpro.
        inputs: the inputs in the order they are read.
        command: name of the command.
        bundle: name and version of the weights, for people.
        bundle_sha256: digest of the manifest of the weights.
        precision: the encoders' arithmetic.
        device: kind of device.
        torch: version of PyTorch.
        settings: settings of the command.
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
    """Return the binding of a run; reads the beginning of each input.

    Args:
        command: name of the command.
        inputs: the inputs in the order they are read.
        settings: settings of the command.
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
    """Return a phrase for each difference between two bindings."""
    is_same_input = _known_by(old.inputs) == _known_by(new.inputs)
    found = [] if is_same_input else [_input_difference(old.inputs, new.inputs)]
    before, after = _flat(old), _flat(new)
    if old.bundle_sha256 == new.bundle_sha256:  # its name may be another spelling of a path
        del before["bundle"], after["bundle"]
    return found + [
        f"{name} was {before.get(name)}, is {after.get(name)}"
        for name in before | after
        if before.get(name) != after.get(name)
    ]


def have_other_inputs_alone(old: Binding, new: Binding) -> bool:
    """Return whether two bindings differ only in their inputs."""
    return not differences(msgspec.structs.replace(old, inputs=new.inputs), new)


def may_be_others(old: Sequence[Input], new: Sequence[Input], since: str) -> bool:
    """Return whether inputs with equal fingerprints may differ after their first MiB.

    They may if a file has moved, or was modified after the run started. Streams cannot be read to
    find out.

    Args:
        old: the inputs of a run.
        new: the inputs that it is repeated with.
        since: when the run was started, in ISO 8601.
    """
    if not all(given.place for given in new):
        return False
    started = datetime.fromisoformat(since).timestamp()
    is_modified = any(Path(given.place).stat().st_mtime >= started for given in new)
    return is_modified or [a.place for a in old] != [b.place for b in new]


def _known_by(inputs: Sequence[Input]) -> list[tuple[tuple[int, int, str], str]]:
    """Return the values that inputs are compared by; with a stream, they include file paths."""
    has_stream = not all(given.place for given in inputs)
    return [(given.known_by, given.place if has_stream else "") for given in inputs]


def _flat(binding: Binding) -> dict[str, object]:
    """Return everything except the inputs, by name."""
    fields = [name for name in Binding.__struct_fields__ if name not in ("inputs", "settings")]
    return {**{name: getattr(binding, name) for name in fields}, **binding.settings}


def _input_difference(old: list[Input], new: list[Input]) -> str:
    before, after = (" ".join(map(_named, inputs)) for inputs in (old, new))
    if before != after:
        return f"input was {before}, is {after}"
    pairs = zip(old, new, strict=True)
    changed = next(b for a, b in pairs if (a.known_by, a.place) != (b.known_by, b.place))
    return f"input {changed.path} has changed since"


def _named(given: Input) -> str:
    """Return a file as the user gave it."""
    return f"-{given.mate} {given.path}" if given.mate else given.path
