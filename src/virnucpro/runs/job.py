"""What a command wants done, what it becomes, and who is told."""

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
    """Raise a `SettingsError` for what is no executor."""
    if executor not in get_args(Executor):
        raise SettingsError(f"--executor {executor}: give {', '.join(get_args(Executor))}")


class Outputs(Protocol):
    """Every file of an output directory."""

    @property
    def directory(self) -> Path:
        """The output directory."""

    def path(self, name: str) -> Path:
        """Return where one file lies; every run has a `summary`."""

    def described(self) -> list[tuple[Path, str]]:
        """Return every file of the run and what is in it."""

    def are_complete(self) -> bool:
        """Tell whether every file is there."""


class Written(Protocol):
    """What `summary.json` holds."""

    @property
    def notes(self) -> list[str]:
        """What the user should know of the run."""

    def to_json(self) -> bytes:
        """Return the file's content."""


SummaryT = TypeVar("SummaryT", bound=Written)
Summary_co = TypeVar("Summary_co", bound=Written, covariant=True)


class Product(Protocol[Summary_co]):
    """What the shards of a run become."""

    @property
    def outputs(self) -> Outputs:
        """The files."""

    @property
    def summary_type(self) -> type[Summary_co]:
        """What `summary.json` holds."""

    def merge(self, store: ShardStore, shards: int) -> Any:  # noqa: ANN401 (its own)
        """Write the files from the first `shards` shards; return what was counted."""

    def summary(
        self,
        found: Any,  # noqa: ANN401
        progress: Progress,
        seconds: dict[str, float],
        binding: Binding,
    ) -> Summary_co:
        """Put what `merge` counted and what this attempt did together."""

    def conclude(
        self,
        manifest: RunManifest,
        summary: Any,  # noqa: ANN401
    ) -> None:
        """Write what is made of the summary, if anything; the last files of a run."""


@dataclass(frozen=True)
class Turn:
    """Which of the runs of one command a run is.

    Attributes:
        name: of its sample.
        number: in the order that they were given, from 1.
        of: how many there are.
        input_bytes: size of the inputs of all, 0 when unknown.
        outputs: the files that all become together.
    """

    name: str
    number: int
    of: int
    input_bytes: int
    outputs: Outputs


@dataclass(frozen=True)
class Job(Generic[SummaryT]):
    """What a command wants done.

    Attributes:
        command: its name.
        inputs: files, or pairs of files of mates, in the order they are read.
        task: what workers compute.
        product: what the shards become.
        weights: name and version, for people.
        weights_sha256: digest of their manifest.
        check: compares the digests of the weights.
        settings: what else the result depends on.
        how: the settings in words.
        notes: what the user should know of the settings before it starts.
        input_notes: likewise of the inputs.
        turn: which of several runs it is; None where it is the only one.
        show: draws what shows the finished run, where it is missing.
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
    turn: Turn | None = None
    show: Callable[[], None] = lambda: None

    def named(self, line: str) -> str:
        """Return a line about this run, after the sample's name where it is one of several."""
        return f"{self.turn.name}: {line}" if self.turn else line


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    Attributes:
        command: its name.
        outputs: every file that will be written.
        weights: name and version.
        how: the settings in words.
        devices: name of each device.
        kind: what sort of device they are.
        precision: the encoders' arithmetic.
        input_bytes: size of the input, 0 when unknown.
        notes: what the user should know before it starts; those of several runs alike come with
            each of them.
        turn: which of several runs it is; None where it is the only one.
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
    turn: Turn | None = None


class Observer(Protocol):
    """Is told how a run goes, or several runs one after the other."""

    def planned(self, plan: Plan) -> None:
        """Take note of what is about to be done."""

    def advanced(self, progress: Progress) -> None:
        """Take note of a block done."""

    def noted(self, line: str) -> None:
        """Take note of how the device is used, or of what went differently on it."""

    def merging(self) -> None:
        """Take note that all blocks are done and the tables are being written."""

    def already_finished(self) -> None:
        """Take note that an earlier attempt has done all of it."""


class Silence:
    """An observer that keeps quiet."""

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
    """Tells an observer from any thread, never from two at once.

    Args:
        observer: who is told.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._lock = threading.Lock()

    def planned(self, plan: Plan) -> None:
        """Tell what is about to be done."""
        with self._lock:
            self._observer.planned(plan)

    def advanced(self, progress: Progress) -> None:
        """Tell of a block done."""
        with self._lock:
            self._observer.advanced(progress)

    def noted(self, line: str) -> None:
        """Tell a line for the user."""
        with self._lock:
            self._observer.noted(line)

    def merging(self) -> None:
        """Tell that the tables are being written."""
        with self._lock:
            self._observer.merging()

    def already_finished(self) -> None:
        """Tell that an earlier attempt has done all of it."""
        with self._lock:
            self._observer.already_finished()
