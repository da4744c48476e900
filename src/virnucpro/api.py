"""The public functions; each command of the command line is one of them."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from virnucpro.bundles import Bundle, Manifest, load_bundle
from virnucpro.engine.blocks import DEFAULT_BLOCK_CHUNKS, Block, input_bytes
from virnucpro.engine.claims import TABLES, Claims
from virnucpro.engine.devices import device_names
from virnucpro.engine.executors import launched, local
from virnucpro.engine.executors.crew import Crew, Events, Place
from virnucpro.engine.executors.links import Ready
from virnucpro.engine.pipeline import Result, Task
from virnucpro.engine.run import Run, bind, open_run
from virnucpro.engine.scoring import Progress, Scoring
from virnucpro.engine.shards import ShardStore
from virnucpro.errors import InputError, SettingsError
from virnucpro.results.merge import merge_shards
from virnucpro.results.paths import Outputs
from virnucpro.results.summary import Summary
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.reader import STDIN
from virnucpro.storage import write_whole

Executor = Literal["local", "ray", "launched"]

#: Seconds between looks whether another process has written the tables.
_PAUSE = 0.2


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    Attributes:
        inputs: files in the order they are read.
        outputs: every file that will be written.
        bundle: the bundle.
        devices: name of each device.
        kind: what sort of device they are.
        precision: the encoders' arithmetic.
        chunk_length: bases of a chunk.
        input_bytes: size of the input, 0 when unknown.
        notes: what the user should know before it starts.
    """

    inputs: list[str]
    outputs: Outputs
    bundle: Bundle
    devices: list[str]
    kind: str
    precision: str
    chunk_length: int
    input_bytes: int
    notes: list[str]


class Observer(Protocol):
    """Is told how a run goes."""

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


def predict(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] = "compact",
    chunk_length: int | None = None,
    frames: Literal["open"] | None = None,
    device: str = "auto",
    precision: str = "auto",
    legacy: bool = False,
    compressed: bool = False,
    block_chunks: int = DEFAULT_BLOCK_CHUNKS,
    executor: Executor = "local",
    observer: Observer | None = None,
) -> Summary:
    """Say which records are viral, and write tables under `out`.

    The same call continues a run that was interrupted; once it is finished, it returns at once.

    Args:
        inputs: FASTA or FASTQ files, plain, gz, bz2, xz or zst; `-` for standard input.
        out: output directory: new, empty, or of an earlier attempt at the same call.
        bundle: name of an embedded bundle, or a bundle's directory.
        chunk_length: bases of a chunk; by default what the bundle says.
        frames: how frames are drawn; by default what the bundle says.
        device: `auto` (all GPUs, else the CPU), `cuda` (all GPUs), or names parted by commas, as
            `cuda:0,cuda:1` or `cpu,cpu`; one worker each.
        precision: `auto`, `fp32`, `bf16`, `fp16` or `fp8`.
        legacy: also write the original VirNucPro's two files.
        compressed: compress tables and sequences with gzip.
        block_chunks: most chunks of a block, the unit that an interruption loses.
        executor: `local`, `ray` (every device of a Ray cluster), or `launched` (one device of each
            process that torchrun, accelerate launch or srun started).
        observer: is told how the run goes, never by two threads at once.

    Returns:
        what `summary.json` holds.

    Raises:
        InputError: an input cannot be read as nucleotide FASTA or FASTQ.
        BundleError: the bundle is unknown, incomplete or damaged.
        RunError: `out` holds something else, or another run.
        SettingsError: a setting does not fit this machine or this bundle.
    """
    started = time.perf_counter()
    observer = observer or Silence()
    paths = _paths(inputs)
    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    length, notes = _chunk_length(manifest, chunk_length)
    if frames not in (None, manifest.frames):
        raise SettingsError(f"--frames {frames}: bundle {manifest.name} takes {manifest.frames}")
    if block_chunks < 1:
        raise SettingsError(f"--block-chunks {block_chunks}: give 1 or more")
    for path in paths:
        _check_readable(path)
    outputs = Outputs(Path(out), legacy, compressed)
    task = Task(os.fspath(bundle), loaded.sha256, length, manifest.thresholds.virus, precision)
    with _crew(_places(executor, device, task)) as crew:
        hello = crew.hello()
        names = [member.name for member in crew.members]
        plan = Plan(
            paths, outputs, loaded, names, hello.kind, hello.precision, length,
            input_bytes(paths), notes,
        )  # fmt: skip
        binding = bind(
            paths,
            bundle=f"{manifest.name} {manifest.version}",
            bundle_sha256=loaded.sha256,
            chunk_length=length,
            frames=manifest.frames,
            precision=hello.precision,
            device=hello.kind,
            block_chunks=block_chunks,
            legacy=legacy,
            compressed=compressed,
        )
        is_shared = executor == "launched"
        with open_run(outputs.directory, binding, hello.budgets, is_shared=is_shared) as run:
            observer.planned(plan)
            if run.is_finished and outputs.are_complete():
                observer.already_finished()
                return _finished(run, plan)
            return _Execution(run, plan, task, crew, observer, started).go(is_shared=is_shared)


@contextmanager
def _crew(places: list[Place]) -> Iterator[Crew]:
    """Start workers, and let go of them whatever happens."""
    crew = Crew(places)
    try:
        yield crew
    finally:
        crew.stop()


def _places(executor: Executor, device: str, task: Task) -> list[Place]:
    """Return where workers are wanted."""
    if executor == "ray":
        from virnucpro.engine.executors import ray_cluster  # noqa: PLC0415 (an extra)

        return ray_cluster.places(device, task)
    names = device_names(device)
    return launched.places(names, task) if executor == "launched" else local.places(names, task)


def _paths(inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[str]:
    """Return the inputs as text, checked."""
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    paths = [os.fspath(path) for path in given]
    if not paths:
        raise InputError("no input: give at least one FASTA or FASTQ file")
    if paths.count(STDIN) > 1:
        raise InputError("standard input (-) can be read only once")
    return paths


def _chunk_length(manifest: Manifest, asked_for: int | None) -> tuple[int, list[str]]:
    """Return the chunk length to use, and what the user should know of it."""
    length = manifest.chunk_lengths[0] if asked_for is None else asked_for
    if length < 3:
        raise SettingsError(f"--chunk-length {length}: give at least 3 bases, one codon")
    if length in manifest.chunk_lengths:
        return length, []
    known = ", ".join(map(str, manifest.chunk_lengths))
    return length, [f"{manifest.name} was trained for chunks of {known} bp, not {length}"]


def _check_readable(path: str) -> None:
    """Refuse a file that is missing, empty or of another kind before anything is written."""
    if path == STDIN or Path(path).is_fifo():
        return
    with SequenceFile(path) as file:
        next(iter(file), None)


class _Execution:
    """Everything between an open run and its summary."""

    def __init__(
        self, run: Run, plan: Plan, task: Task, crew: Crew, observer: Observer, started: float
    ) -> None:
        self._run, self._plan, self._task, self._crew = run, plan, task, crew
        self._observer, self._started = observer, started
        self._telling = threading.Lock()
        self._told: set[str] = set()
        self._ready_since: float | None = None
        self._store = ShardStore(run.shards)
        self._scoring = Scoring(
            plan.inputs,
            run.manifest.binding.block_chunks,
            task,
            self._store,
            lambda: crew.work,
            observer.advanced,
        )

    def go(self, *, is_shared: bool) -> Summary:
        """Score all blocks and write the tables; other processes may take their part."""
        claims = Claims(self._run.shards) if is_shared else None
        try:
            self._score(claims)
            scored = time.perf_counter()
            if claims is not None and not self._may_merge(claims):
                return _finished(self._run, self._plan)
            return self._merge(scored)
        finally:
            if claims is not None:
                claims.close()

    def _score(self, claims: Claims | None) -> None:
        scoring = self._scoring

        def done(block: Block, result: Result) -> None:
            scoring.done(block, result)
            if claims is not None:
                claims.release(block.index)

        events = Events(done, scoring.put_aside, self._ready, self._say)
        blocks = scoring.blocks() if claims is None else scoring.claimed_blocks(claims)
        self._crew.run(blocks, self._run.manifest.budgets, events)
        for note in self._crew.work.incidents():
            self._say(note)

    def _ready(self, ready: Ready) -> None:
        """Hold all workers to one way to compute."""
        with self._telling:
            self._run.keep_ways(ready.ways)
            self._ready_since = self._ready_since or time.perf_counter()
        for note in ready.notes:
            if note not in self._told:
                self._told.add(note)
                self._say(note)

    def _say(self, line: str) -> None:
        with self._telling:
            self._observer.noted(line)

    def _may_merge(self, claims: Claims) -> bool:
        """Whether the tables are this process's to write; if not, wait until another has."""
        while not claims.take(TABLES):
            time.sleep(_PAUSE)
            self._run.refresh()
            if self._run.is_finished:
                return False
        self._run.refresh()
        return not self._run.is_finished

    def _merge(self, scored: float) -> Summary:
        ready = self._ready_since or scored
        scoring, work, plan = self._scoring, self._scoring.progress.work, self._plan
        self._observer.merging()
        counts = merge_shards(self._store, len(scoring.digests), plan.outputs, self._task.threshold)
        seconds = {
            "start-up": ready - self._started,
            "scoring": scored - ready,
            "tables": time.perf_counter() - scored,
            **work.seconds,
        }
        binding = self._run.manifest.binding
        summary = Summary.of(
            counts, scoring.progress, seconds,
            bundle=binding.bundle, device=binding.device, precision=binding.precision,
        )  # fmt: skip
        write_whole(plan.outputs.path("summary"), summary.to_json())
        self._run.finish(sha256(b"".join(scoring.digests)).hexdigest())
        self._store.remove()
        return summary


def _finished(run: Run, plan: Plan) -> Summary:
    """Return the summary of a finished run, and what a kill may have left of its shards."""
    if run.shards.is_dir():
        ShardStore(run.shards).remove()
    return msgspec.json.decode(plan.outputs.path("summary").read_bytes(), type=Summary)
