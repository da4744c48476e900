"""The public functions; each command of the command line is one of them."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from virnucpro.bundles import Bundle, Manifest, load_bundle
from virnucpro.engine.blocks import DEFAULT_BLOCK_CHUNKS, cut_blocks, input_bytes
from virnucpro.engine.devices import Device, choose_budgets, choose_device
from virnucpro.engine.executors.local import LocalExecutor, Progress
from virnucpro.engine.run import Run, bind, open_run
from virnucpro.engine.shards import ShardStore, make_shard
from virnucpro.engine.worker import Worker
from virnucpro.errors import InputError, SettingsError
from virnucpro.results.merge import merge_shards
from virnucpro.results.paths import Outputs
from virnucpro.results.summary import Summary
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.reader import STDIN
from virnucpro.storage import write_whole


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    Attributes:
        inputs: files in the order they are read.
        outputs: every file that will be written.
        bundle: the bundle.
        device: the device and its precision.
        chunk_length: bases of a chunk.
        input_bytes: size of the input, 0 when unknown.
        notes: what the user should know before it starts.
    """

    inputs: list[str]
    outputs: Outputs
    bundle: Bundle
    device: Device
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
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto`, `fp32`, `bf16`, `fp16` or `fp8`.
        legacy: also write the original VirNucPro's two files.
        compressed: compress tables and sequences with gzip.
        block_chunks: most chunks of a block, the unit that an interruption loses.
        observer: is told how the run goes.

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
    chosen = choose_device(device, precision)
    outputs = Outputs(Path(out), legacy, compressed)
    plan = Plan(paths, outputs, loaded, chosen, length, input_bytes(paths), notes)
    binding = bind(
        paths,
        bundle=f"{manifest.name} {manifest.version}",
        bundle_sha256=loaded.sha256,
        chunk_length=length,
        frames=manifest.frames,
        precision=chosen.precision,
        device=chosen.kind,
        block_chunks=block_chunks,
        legacy=legacy,
        compressed=compressed,
    )
    for path in paths:
        _check_readable(path)
    budgets = choose_budgets(chosen, manifest)
    with open_run(outputs.directory, binding, budgets) as run:
        observer.planned(plan)
        if run.is_finished and outputs.are_complete():
            observer.already_finished()
            return _finished(run, plan)
        return _execute(run, plan, observer, started)


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


def _execute(run: Run, plan: Plan, observer: Observer, started: float) -> Summary:
    threshold = plan.bundle.manifest.thresholds.virus
    worker = Worker(plan.bundle, plan.device, plan.chunk_length, run.manifest.budgets)
    run.keep_ways(worker.ways)
    for note in worker.notes:
        observer.noted(note)
    store = ShardStore(run.shards)
    last = Progress(0, 0, 0, 0, worker.work)

    def advanced(progress: Progress) -> None:
        nonlocal last
        last = progress
        observer.advanced(progress)

    executor = LocalExecutor(
        worker, store, lambda scored: make_shard(scored, plan.chunk_length, threshold), advanced
    )
    scoring_started = time.perf_counter()
    blocks = cut_blocks(plan.inputs, plan.chunk_length, run.manifest.binding.block_chunks)
    digests = executor.run(blocks)
    tables_started = time.perf_counter()
    for note in worker.work.incidents():
        observer.noted(note)
    observer.merging()
    counts = merge_shards(store, len(digests), plan.outputs, threshold)
    seconds = {
        "start-up": scoring_started - started,
        "scoring": tables_started - scoring_started,
        "tables": time.perf_counter() - tables_started,
        **worker.work.seconds,
    }
    binding = run.manifest.binding
    summary = Summary.of(
        counts, last, seconds,
        bundle=binding.bundle, device=binding.device, precision=binding.precision,
    )  # fmt: skip
    write_whole(plan.outputs.path("summary"), summary.to_json())
    run.finish(sha256(b"".join(digests)).hexdigest())
    store.remove()
    return summary


def _finished(run: Run, plan: Plan) -> Summary:
    """Return the summary of a finished run, and what a kill may have left of its shards."""
    if run.shards.is_dir():
        ShardStore(run.shards).remove()
    return msgspec.json.decode(plan.outputs.path("summary").read_bytes(), type=Summary)
