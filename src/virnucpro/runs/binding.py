"""What a run is bound to: two runs with equal bindings give the same bytes.

An input is known by its content and not by how its path is spelled or where it lies: size and
digest of its beginning, and then the digest of its records, block by block. Streams are known by
their names.
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

#: How much of an input's beginning its fingerprint covers. Changes further on are found block by
#: block, since every shard holds the digest of its records.
_HEAD_BYTES = 1 << 20


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input file as the run saw it first.

    Attributes:
        path: as given, for people.
        bytes: its size; 0 for a stream.
        head_sha256: digest of its first MiB; empty for a stream.
        mate: 1 or 2 where the mates of pairs are in two files; 0 of a file that is given alone.
        place: its whole path, links followed; empty for a stream.
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
        """What it is compared by."""
        return self.mate, self.bytes, self.head_sha256 or self.path


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
    is_same_input = _known_by(old.inputs) == _known_by(new.inputs)
    found = [] if is_same_input else [_input_difference(old.inputs, new.inputs)]
    before, after = _flat(old), _flat(new)
    if old.bundle_sha256 == new.bundle_sha256:  # its name may be a path, spelled otherwise
        del before["bundle"], after["bundle"]
    return found + [
        f"{name} was {before.get(name)}, is {after.get(name)}"
        for name in before | after
        if before.get(name) != after.get(name)
    ]


def have_other_inputs_alone(old: Binding, new: Binding) -> bool:
    """Tell whether two bindings differ in nothing but their inputs."""
    return not differences(msgspec.structs.replace(old, inputs=new.inputs), new)


def may_be_others(old: Sequence[Input], new: Sequence[Input], since: str) -> bool:
    """Tell whether inputs known by the same may hold other records behind their first MiB.

    They may when a file lies elsewhere than it did, or was modified since then. Streams cannot be
    read to find out.

    Args:
        old: the inputs of a run.
        new: those that it is repeated with.
        since: when the run was started, as ISO 8601 says it.
    """
    if not all(given.place for given in new):
        return False
    started = datetime.fromisoformat(since).timestamp()
    is_modified = any(Path(given.place).stat().st_mtime >= started for given in new)
    return is_modified or [a.place for a in old] != [b.place for b in new]


def _known_by(inputs: Sequence[Input]) -> list[tuple[tuple[int, int, str], str]]:
    """Return what inputs are compared by; beside a stream, files also by where they lie."""
    has_stream = not all(given.place for given in inputs)
    return [(given.known_by, given.place if has_stream else "") for given in inputs]


def _flat(binding: Binding) -> dict[str, object]:
    """Return all but the inputs, by name."""
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
    """Return a file as it was given."""
    return f"-{given.mate} {given.path}" if given.mate else given.path
