"""The report of `doctor`."""

from typing import Literal

import msgspec

FORMAT = 1


class Package(msgspec.Struct, frozen=True):
    """A program that virnucpro depends on.

    Attributes:
        name: name of the program.
        version: its version, or an empty string if it is not installed.
        is_supported: whether virnucpro supports this version.
    """

    name: str
    version: str
    is_supported: bool


class DeviceReport(msgspec.Struct, frozen=True):
    """A device that can compute.

    Attributes:
        name: name of the device, as `--device` takes it.
        kind: model of a GPU, or maker and instruction sets of a CPU.
        memory: total memory in bytes.
        free: free memory in bytes.
        precisions: precisions in which it computes or stores weights.
        default: precision that `--precision auto` chooses. On a CPU, `auto` chooses int8 for
            networks that read six frames, if `precisions` has it.
        ways: backends for encoders in this precision. A run uses the first that computes correctly.
    """

    name: str
    kind: str
    memory: int
    free: int
    precisions: list[str]
    default: str
    ways: list[str]


class Weights(msgspec.Struct, frozen=True):
    """The weights of a bundle or of a separate encoder.

    Attributes:
        name: name of the bundle or encoder, as `--bundle` or `--model` takes it.
        path: its directory.
        checked: what was compared with its manifest: `digests`, or only `sizes` of large files.
        fault: what is wrong with it, or an empty string.
    """

    name: str
    path: str
    checked: Literal["digests", "sizes"]
    fault: str


class Place(msgspec.Struct, frozen=True):
    """A directory that virnucpro writes to.

    Attributes:
        what: kind of files in the directory.
        path: path of the directory.
        bytes: size of its files; null if other programs also write to it.
        is_partial: whether counting ran out of time, so that `bytes` is too small.
        free: free bytes on its disk.
    """

    what: str
    path: str
    bytes: int | None
    is_partial: bool
    free: int


class Problem(msgspec.Struct, frozen=True):
    """A problem of this machine or installation.

    Attributes:
        what: what is wrong.
        to_do: how to fix it.
        is_fatal: whether `predict` cannot run with the bundle `compact`.
    """

    what: str
    to_do: str
    is_fatal: bool = False


class Report(msgspec.Struct, frozen=True):
    """Everything that `doctor` finds.

    Attributes:
        format: version of this format.
        virnucpro: version of virnucpro.
        platform: operating system and architecture.
        cores: number of CPU cores that this process may use.
        instructions: maker of the CPU, its instruction sets that results depend on, and what limits
            them.
        packages: programs that virnucpro depends on.
        devices: devices that can compute.
        weights: bundles and separate encoders.
        places: directories that virnucpro writes to.
        extras: name of each extra -> whether it is installed.
        problems: all problems, in the order of the fields above.
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
