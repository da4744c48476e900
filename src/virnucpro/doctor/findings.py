"""What `doctor` finds."""

from typing import Literal

import msgspec

FORMAT = 1


class Package(msgspec.Struct, frozen=True):
    """A program that virnucpro stands on; its version is empty where it is missing."""

    name: str
    version: str
    is_supported: bool


class DeviceReport(msgspec.Struct, frozen=True):
    """A device.

    Attributes:
        name: as `--device` takes it.
        kind: what sort of device.
        memory: its bytes.
        free: bytes that nobody uses.
        precisions: that it computes, or stores weights in.
        default: what `--precision auto` takes; on a CPU int8, where it is among the precisions, for
            networks that read six frames.
        ways: how encoders would be computed so, the first that proves right.
    """

    name: str
    kind: str
    memory: int
    free: int
    precisions: list[str]
    default: str
    ways: list[str]


class Weights(msgspec.Struct, frozen=True):
    """A bundle or a lone encoder.

    Attributes:
        name: as `--bundle` or `--model` takes it.
        path: where it lies.
        checked: what was compared with its manifest: `digests`, or `sizes` where it is large.
        fault: what is wrong with it; empty if nothing.
    """

    name: str
    path: str
    checked: Literal["digests", "sizes"]
    fault: str


class Place(msgspec.Struct, frozen=True):
    """A directory that fills.

    Attributes:
        what: lies there.
        path: of the directory.
        bytes: that it holds; null where that is not virnucpro's alone.
        is_partial: whether there was no time to count all of them.
        free: bytes left on its disk.
    """

    what: str
    path: str
    bytes: int | None
    is_partial: bool
    free: int


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, what to do, and whether `predict` with `compact` can run all the same."""

    what: str
    to_do: str
    is_fatal: bool = False


class Report(msgspec.Struct, frozen=True):
    """What `doctor` found.

    Attributes:
        format: version of this format.
        virnucpro: its version.
        platform: operating system and architecture.
        cores: CPU cores that this process may use.
        instructions: maker of the CPU, its instruction sets that results depend on, and what limits
            them.
        packages: what it stands on.
        devices: where it can compute.
        weights: bundles and lone encoders.
        places: directories that fill.
        extras: optional dependencies, and whether they are installed.
        problems: in the order of the above.
    """

    format: int
    virnucpro: str
    platform: str
    cores: int
    instructions: str
    packages: list[Package]
    devices: list[DeviceReport]
    weights: list[Weights]
    places: list[Place]
    extras: dict[str, bool]
    problems: list[Problem]

    @property
    def can_predict(self) -> bool:
        """Whether `predict` with the embedded bundle can run."""
        return not any(problem.is_fatal for problem in self.problems)
