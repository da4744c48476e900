"""A run: an output directory bound to what it computes.

`run.json` records the binding: inputs, bundle, settings, version, kind of device. The same command
resumes the run; a different command is refused, and the message names the difference.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from virnucpro.errors import RunError
from virnucpro.files import as_json, is_partial, remove_partial, write_json, write_once
from virnucpro.runs.binding import Binding, differences, have_other_inputs_alone
from virnucpro.runs.devices import Budgets
from virnucpro.runs.monitor import DeviceUse
from virnucpro.runs.shard_store import ShardStore
from virnucpro.system.directories import Watch, busy, open_directory, own_directory

FORMAT = 1
MANIFEST_FILE = "run.json"
SHARDS = "shards"
_BACKENDS_FILE = "backends.json"
#: Seconds that a process waits for another one to start their shared run.
_START_SECONDS = 10.0
JsonT = TypeVar("JsonT")


class Environment(msgspec.Struct, frozen=True):
    """The environment of a run, for the record; a rerun elsewhere may differ in it."""

    python: str
    platform: str
    packages: dict[str, str]

    @classmethod
    @cache
    def here(cls) -> "Environment":
        """Describe this process."""
        names = ("isal", "numpy", "nvitop", "polars", "pysam", "safetensors")
        packages = {name: version(name) for name in names}
        return cls(platform.python_version(), platform.platform(), packages)


class RunManifest(msgspec.Struct, forbid_unknown_fields=True):
    """The content of `run.json`.

    Attributes:
        format: version of this format.
        status: whether all outputs are written.
        binding: what the run computes.
        environment: where the run was started.
        budgets: largest number of tokens of a forward pass, chosen when the run was first started.
        started: when the run was first started, UTC.
        finished: when its outputs were written, UTC; empty before.
        problem: why the last attempt could not read its inputs to the end; empty if it could.
        records_sha256: digest of all records; empty before the run is finished.
        backends: how the encoders are computed, one line each; empty before the first is known.
        devices: what each device did in the attempt that finished.
    """

    format: int
    status: Literal["unfinished", "finished"]
    binding: Binding
    environment: Environment
    budgets: Budgets
    started: str
    finished: str = ""
    problem: str = ""
    records_sha256: str = ""
    backends: list[str] = msgspec.field(default_factory=list, name="ways")
    devices: list[DeviceUse] = []

    @classmethod
    def new(cls, binding: Binding, budgets: Budgets) -> "RunManifest":
        """Return the manifest of a run that starts now."""
        return cls(FORMAT, "unfinished", binding, Environment.here(), budgets, _now())


class Run:
    """An output directory that this process owns; made by `open_run`.

    Attributes:
        directory: the output directory.
        manifest: content of `run.json`.
        watch: detects that the directory has been removed.
    """

    def __init__(self, directory: Path, manifest: RunManifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.watch = Watch(directory)

    @property
    def shards(self) -> Path:
        """Directory of the shards until the run is finished."""
        return self.directory / SHARDS

    @property
    def is_finished(self) -> bool:
        """Whether all outputs are written."""
        return self.manifest.status == "finished"

    def save(self) -> None:
        """Write `run.json`."""
        write_json(self.directory / MANIFEST_FILE, self.manifest)

    def keep_backends(self, backends: list[str]) -> None:
        """Record how the encoders are computed, so that all shards come from the same backends.

        The record is kept with the shards until the run is finished; only the first of several
        processes writes it.

        Raises:
            RunError: another process or an earlier attempt uses other backends.
        """
        own_directory(self.shards)
        path = self.shards / _BACKENDS_FILE
        write_once(path, msgspec.json.encode(backends))
        before = read_json(path, list[str], "give a new directory")
        if before != backends:
            raise RunError(
                f"{self.directory}: was started with {'; '.join(before)}, but would continue here "
                f"with {'; '.join(backends)}; resume it where it was started, or give a new "
                "directory"
            )
        self.manifest.backends = backends

    def keep_problem(self, problem: str) -> None:
        """Record that the inputs cannot be read; other inputs may then restart the run."""
        self.manifest.problem = problem
        self.save()

    def restart(self, binding: Binding, budgets: Budgets) -> None:
        """Restart with other inputs in place of those that could not be read."""
        ShardStore(self.shards).remove()
        self.manifest = RunManifest.new(binding, budgets)
        self.save()

    def refresh(self) -> None:
        """Check whether another process has finished the run."""
        found = read_run(self.directory)
        if found is not None and found.status == "finished":
            self.manifest.status = "finished"

    def finish(self, records_sha256: str, devices: list[DeviceUse]) -> None:
        """Record that all outputs are written."""
        self.manifest.devices = devices
        self.manifest.status, self.manifest.problem = "finished", ""
        self.manifest.finished = _now()
        self.manifest.records_sha256 = records_sha256
        self.save()


@contextmanager
def open_run(
    directory: Path, binding: Binding, budgets: Budgets, *, is_shared: bool = False
) -> Iterator[Run]:
    """Start a run in a new or empty directory, or resume the same run.

    Nothing in the directory is changed before `run.json` shows that it belongs to this run.

    Args:
        directory: the output directory.
        binding: what the run computes.
        budgets: budgets of a new run; a resumed run keeps its own.
        is_shared: whether other processes with the same flag may work on the run. The first of them
            starts or resumes it, and drops the claims that killed processes left.

    Raises:
        RunError: the directory cannot be written, holds something else, holds a run with another
            binding, or belongs to a running process.
    """

    def begin() -> None:
        if read_own_run(directory, binding) is None:
            _start(directory, binding, budgets)
            read_own_run(directory, binding)  # another process may have been faster

    lock = open_directory(directory, begin)
    with lock:
        is_first = lock.take()
        if not is_first and not (is_shared and lock.take(is_shared=True, seconds=_START_SECONDS)):
            raise busy(directory)
        manifest = read_own_run(directory, binding)
        if manifest is None:
            raise RunError(f"{directory / MANIFEST_FILE}: no longer exists; run the command again")
        run = Run(directory, manifest)
        if is_first:
            remove_partial(directory)
        if differences(manifest.binding, binding):
            run.restart(binding, budgets)
        if is_shared and is_first:
            for claim in run.shards.glob("*.claim"):
                claim.unlink()
            lock.take(is_shared=True)
        yield run


def _start(directory: Path, binding: Binding, budgets: Budgets) -> None:
    """Write `run.json` into an empty directory; only one of several processes succeeds."""
    names = [path.name for path in directory.iterdir()]
    strangers = [name for name in names if not is_partial(name, of=MANIFEST_FILE)]
    if MANIFEST_FILE in strangers:  # another process was faster
        return
    if strangers:
        raise RunError(
            f"{directory}: is not empty and holds no run of virnucpro ({min(strangers)}, ...); "
            "give a new directory"
        )
    write_once(directory / MANIFEST_FILE, as_json(RunManifest.new(binding, budgets)))


def read_own_run(directory: Path, binding: Binding) -> RunManifest | None:
    """Return the manifest of this run, or None if the directory has no `run.json`.

    A run whose inputs could not be read also accepts other inputs.

    Raises:
        RunError: the file is a link, cannot be read, or belongs to another run.
    """
    path = directory / MANIFEST_FILE
    if path.is_symlink():
        raise RunError(f"{path}: is a link, not a file of this run; give a new directory")
    manifest = read_run(directory)
    if manifest is None or not (found := differences(manifest.binding, binding)):
        return manifest
    if manifest.problem and have_other_inputs_alone(manifest.binding, binding):
        return manifest
    raise RunError(
        f"{directory}: holds another run ({'; '.join(found)}); give a new directory, "
        "or repeat that command to resume it"
    )


def read_run(directory: Path) -> RunManifest | None:
    """Return the content of `run.json`, or None if the file does not exist.

    Raises:
        RunError: it cannot be read.
    """
    path = directory / MANIFEST_FILE
    return read_json(path, RunManifest, "give a new directory") if path.exists() else None


def read_json(path: Path, kind: type[JsonT], to_do: str) -> JsonT:
    """Return the content of a JSON file of a run.

    Args:
        path: path of the file.
        kind: type of the content.
        to_do: what the user should do if it cannot be read.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{path}: cannot be read ({reason}); {to_do}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
