"""Jobs: what a command computes, what the shards become, and who observes the run."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from virnucpro.errors import SettingsError
from virnucpro.runs.binding import Binding
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.run import RunManifest
from virnucpro.runs.shard_store import ShardStore
from virnucpro.runs.task import Task
from virnucpro.sequences.fragments import Source

Executor = Literal["local", "ray", "launched"]


def check_executor(executor: str) -> None:
    """Raise a `SettingsError` if the name is not an executor."""
    if executor not in get_args(Executor):
        raise SettingsError(f"--executor {executor}: give {', '.join(get_args(Executor))}")


class Outputs(Protocol):
    """The files of an output directory."""

    @property
    def directory(self) -> Path:
        """The output directory."""

    def path(self, name: str) -> Path:
        """Return the path of one file; every run has a `summary`."""

    def described(self) -> list[tuple[Path, str]]:
        """Return every file of the run with a description."""

    def are_complete(self) -> bool:
        """Return whether every file exists."""


class Written(Protocol):
    """The content of `summary.json`."""

    @property
    def notes(self) -> list[str]:
        """What the user should know about the run."""


SummaryT = TypeVar("SummaryT", bound=Written)
Summary_co = TypeVar("Summary_co", bound=Written, covariant=True)


class Product(Protocol[Summary_co]):
    """Turns the shards of a run into its output files."""

    @property
    def outputs(self) -> Outputs:
        """The files."""

    @property
    def summary_type(self) -> type[Summary_co]:
        """Type of the content of `summary.json`."""

    def merge(self, store: ShardStore, shards: int) -> Any:  # noqa: ANN401 (its own type)
        """Write the files from the first `shards` shards; return the counts."""

    def summary(
        self,
        found: Any,  # noqa: ANN401
        progress: Progress,
        seconds: dict[str, float],
        binding: Binding,
    ) -> Summary_co:
        """Combine the counts of `merge` with what this attempt did."""

    def conclude(
        self,
        manifest: RunManifest,
        summary: Any,  # noqa: ANN401
    ) -> None:
        """Write the files that need the summary, if any; they are the last of the run."""


@dataclass(frozen=True)
class SamplePosition:
    """The position of a run among the samples of one command.

    Attributes:
        name: name of the sample.
        number: number of the sample in the sheet, from 1.
        of: number of samples.
        input_bytes: size of the inputs of all samples, 0 if unknown.
        outputs: the files that are written for all samples together.
    """

    name: str
    number: int
    of: int
    input_bytes: int
    outputs: Outputs


@dataclass(frozen=True)
class Job(Generic[SummaryT]):
    """One run that a command asks for.

    Attributes:
        command: name of the command.
        inputs: files, or pairs of files with mates, in the order they are read.
        task: what the workers compute.
        product: turns the shards into output files.
        weights: name and version of the weights, for people.
        weights_sha256: digest of the manifest of the weights.
        check: verifies the digests of the weights.
        settings: everything else that the result depends on.
        how: the settings in words.
        notes: what the user should know about the settings before the run starts.
        input_notes: what the user should know about the inputs before the run starts.
        sample: position among the samples of the command; None if this is its only run.
        show: draws the report of the finished run, if it is missing.
    """

    command: str
    inputs: list[Source]
    task: Task
    product: Product[SummaryT]
    weights: str
    weights_sha256: str
    check: Callable[[], None]
    settings: dict[str, int | str | bool]
    how: str
    notes: list[str] = field(default_factory=list)
    input_notes: list[str] = field(default_factory=list)
    sample: SamplePosition | None = None
    show: Callable[[], None] = lambda: None

    def named(self, line: str) -> str:
        """Return a line about this run, prefixed with the name of its sample if it has one."""
        return f"{self.sample.name}: {line}" if self.sample else line


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    Attributes:
        command: name of the command.
        outputs: the files that will be written.
        weights: name and version of the weights.
        how: the settings in words.
        devices: name of each device.
        kind: kind of the devices.
        precision: the encoders' arithmetic.
        input_bytes: size of the input, 0 if unknown.
        notes: what the user should know before the run starts. Notes that apply to all samples
            are repeated in the plan of each.
        sample: position among the samples of the command; None if this is its only run.
    """

    command: str
    outputs: Outputs
    weights: str
    how: str
    devices: list[str]
    kind: str
    precision: str
    input_bytes: int
    notes: list[str]
    sample: SamplePosition | None = None


class Observer(Protocol):
    """Follows the progress of a run, or of several runs one after the other."""

    def planned(self, plan: Plan) -> None:
        """Called before a run starts."""

    def advanced(self, progress: Progress) -> None:
        """Called after each completed block."""

    def noted(self, line: str) -> None:
        """Called with a line for the user."""

    def merging(self) -> None:
        """Called when all blocks are done and the outputs are about to be written."""

    def already_finished(self) -> None:
        """Called if an earlier attempt has already finished the run."""


class Silence:
    """An observer that does nothing."""

    def planned(self, plan: Plan) -> None:
        """Do nothing."""

    def advanced(self, progress: Progress) -> None:
        """Do nothing."""

    def noted(self, line: str) -> None:
        """Do nothing."""

    def merging(self) -> None:
        """Do nothing."""

    def already_finished(self) -> None:
        """Do nothing."""


class OneAtATime:
    """Passes calls from any thread to an observer, one at a time.

    Args:
        observer: the observer.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._lock = threading.Lock()

    def planned(self, plan: Plan) -> None:
        """Pass on the plan."""
        with self._lock:
            self._observer.planned(plan)

    def advanced(self, progress: Progress) -> None:
        """Pass on the progress."""
        with self._lock:
            self._observer.advanced(progress)

    def noted(self, line: str) -> None:
        """Pass on a line for the user."""
        with self._lock:
            self._observer.noted(line)

    def merging(self) -> None:
        """Pass on that the outputs are being written."""
        with self._lock:
            self._observer.merging()

    def already_finished(self) -> None:
        """Pass on that the run is already finished."""
        with self._lock:
            self._observer.already_finished()
