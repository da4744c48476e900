"""`embed`: embeddings of proteins or DNA by one encoder, in a file or as an iterator."""

import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from virnucpro.bundles.loading import chosen_layer
from virnucpro.bundles.stored_encoder import Model, load_model
from virnucpro.embedding.formats.any_format import (
    FORMATS,
    LIBRARIES,
    EmbeddingFile,
    open_embeddings,
)
from virnucpro.embedding.job import Embedding
from virnucpro.embedding.outputs import EmbeddingFiles, EmbeddingOutputs, EmbeddingSummary, part_of
from virnucpro.embedding.shard import EmbeddingShard
from virnucpro.encoders.pooling import Pooling
from virnucpro.errors import InputError, RunError, SettingsError, require
from virnucpro.runs.execution import execute, started_pool
from virnucpro.runs.executors.worker_pool import Events, WorkerPool
from virnucpro.runs.job import Executor, Job, Observer
from virnucpro.sequences.blocks import Block, cut_sequences
from virnucpro.sequences.inputs import checked_inputs
from virnucpro.system.directories import checked_out

if TYPE_CHECKING:
    from virnucpro.runs.task import Result

#: Type of the numbers by the value of `--dtype`.
DTYPES = {"fp32": "float32", "fp16": "float16"}
#: Number of blocks for each device that may be computed before the caller takes their vectors.
_BLOCKS_AHEAD = 6


def embed(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    layer: int | None = None,
    pooling: Pooling = "mean",
    file_format: str = "parquet",
    dtype: str = "fp32",
    device: str = "auto",
    precision: str = "auto",
    executor: Executor = "local",
    observer: Observer | None = None,
) -> EmbeddingSummary:
    """Write the embedding of every record under `out`.

    The same call resumes an interrupted run. If the run is finished, the call returns at once.

    Args:
        inputs: FASTA, FASTQ or BAM files of proteins (ESM-2) or DNA (DNABERT-S), plain or
            compressed; `-` for standard input.
        out: output directory: new, empty, or that of an earlier attempt of the same call.
        model: name or directory of an encoder, or an encoder of a bundle (`compact-pair:protein`).
        layer: layer to read, counted from 1 (default: last, after ESM-2's final LayerNorm).
        pooling: `mean` (mean over residues, or over all tokens of DNA, as in VirNucPro), `cls` (the
            first token), or `tokens` (every residue or byte pair).
        file_format: `parquet`, `hdf5`, `npz` or `safetensors`.
        dtype: type of the written numbers, `fp32` or `fp16`.
        device: as for `predict`.
        precision: as for `predict`.
        executor: as for `predict`.
        observer: receives the progress of the run, never from two threads at once.

    Returns:
        the content of `summary.json`.

    Raises:
        InputError: an input cannot be read as sequences of the encoder's kind.
        BundleError: the encoder is unknown, incomplete or damaged.
        RunError: `out` holds another run or other files.
        SettingsError: a setting does not fit this machine or this encoder.
    """
    if file_format not in FORMATS:
        raise SettingsError(f"--format {file_format}: give {', '.join(FORMATS)}")
    remedy = "pip install --force-reinstall virnucpro, or give another format"
    require(f"--format {file_format}", remedy, *LIBRARIES[file_format])
    loaded, task = _task(model, layer, pooling, dtype, precision)
    settings: dict[str, int | str | bool] = {
        "letters": loaded.kind, "layer": task.layer, "pooling": pooling, "format": file_format,
        "dtype": dtype,
    }  # fmt: skip
    metadata = {
        "model": loaded.name, "model_sha256": loaded.sha256,
        **{name: str(value) for name, value in settings.items() if name != "format"},
    }  # fmt: skip
    found = checked_inputs(inputs, loaded.kind)
    job = Job(
        command="embed",
        inputs=found.sources,
        task=task,
        product=EmbeddingFiles(
            EmbeddingOutputs(checked_out(out), file_format),
            loaded.config.width,
            task.dtype,
            pooling == "tokens",
            metadata,
        ),
        weights=loaded.name,
        weights_sha256=loaded.sha256,
        check=loaded.check,
        settings=settings,
        how=f"layer {task.layer} of {loaded.config.layers}, {pooling}",
        input_notes=found.dna_notes(),
    )
    return execute(job, device, executor, observer)


def read_embeddings(out: str | os.PathLike[str]) -> EmbeddingFile:
    """Open the file that `embed` wrote; iterate over it for ids and arrays, or `to_anndata()`.

    Args:
        out: the output directory, or the file of embeddings.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = Path(out)
    if path.is_dir():
        found = [path / name for name in FORMATS.values() if (path / name).is_file()]
        if not found:
            raise InputError(f"{path}: holds no embeddings; is its run finished?")
        path = found[0]
    return open_embeddings(path)


def embed_sequences(
    sequences: Iterable[tuple[str, str]],
    *,
    model: str | os.PathLike[str],
    layer: int | None = None,
    pooling: Pooling = "mean",
    dtype: str = "fp32",
    device: str = "auto",
    precision: str = "auto",
    executor: Executor = "local",
) -> Iterator[tuple[str, NDArray[np.floating[Any]]]]:
    """Yield the embedding of each sequence, in order, without writing a file.

    Args:
        sequences: id and letters of each sequence; read as needed, so the iterable may be endless.
        model: as for `embed`.
        layer: as for `embed`.
        pooling: as for `embed`.
        dtype: type of the numbers, `fp32` or `fp16`.
        device: as for `predict`.
        precision: as for `predict`.
        executor: as for `predict`.

    Yields:
        the id, and an array of the shape (D,), or (n, D) if `pooling` is `tokens`.

    Raises:
        InputError: a sequence cannot be embedded.
        BundleError: the encoder is unknown, incomplete or damaged.
        SettingsError: a setting does not fit this machine or this encoder.
    """
    loaded, task = _task(model, layer, pooling, dtype, precision)
    ids: deque[str] = deque()

    def with_ids_kept() -> Iterator[tuple[str, str]]:
        for id_, letters in sequences:
            ids.append(id_)
            yield id_, letters

    blocks = cut_sequences(with_ids_kept(), loaded.kind, task.block_letters)
    with started_pool(task, device, executor) as pool:
        loaded.check()
        for shard in _Stream(pool, blocks).shards():
            for values in part_of(shard).embeddings(is_ragged=pooling == "tokens"):
                yield ids.popleft(), values


def _task(
    model: str | os.PathLike[str], layer: int | None, pooling: str, dtype: str, precision: str
) -> tuple[Model, Embedding]:
    """Check the settings; return the encoder and the task."""
    if pooling not in get_args(Pooling):
        raise SettingsError(f"--pooling {pooling}: give {', '.join(get_args(Pooling))}")
    if dtype not in DTYPES:
        raise SettingsError(f"--dtype {dtype}: give {', '.join(DTYPES)}")
    loaded = load_model(model, is_checked=True)
    chosen = chosen_layer(loaded, layer)
    task = Embedding(
        os.fspath(model), loaded.sha256, chosen, cast("Pooling", pooling), DTYPES[dtype], precision
    )
    return loaded, task


class _Stream:
    """Computes blocks in a background thread and yields their shards in order."""

    def __init__(self, pool: WorkerPool, blocks: Iterator[Block]) -> None:
        self._pool, self._blocks = pool, blocks
        self._room = threading.Semaphore(_BLOCKS_AHEAD * len(pool.slots))
        self._results: queue.Queue[Result | BaseException | None] = queue.Queue()
        self._is_over = False

    def shards(self) -> Iterator[EmbeddingShard]:
        """Yield the shard of each block; only a limited number of blocks is read ahead."""
        runner = threading.Thread(target=self._run, daemon=True)
        runner.start()
        waiting: dict[int, bytes] = {}
        next_index = 0
        try:
            while (result := self._results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                waiting[result.block] = result.shard
                while next_index in waiting:
                    shard = EmbeddingShard.decode(waiting.pop(next_index))
                    next_index += 1
                    _refuse_problems(shard)
                    yield shard
                    self._room.release()
        finally:
            self._is_over = True
            self._pool.stop()
            if threading.main_thread().is_alive():  # daemon threads stop with the main thread
                runner.join()

    def _run(self) -> None:
        def fail(_block: Block, reason: str) -> None:
            self._results.put(RunError(f"a block killed two workers ({reason})"))

        events = Events(
            lambda _block, result: self._results.put(result),
            fail,
            lambda _ready: None,
            lambda _line: None,
        )
        try:
            self._pool.run(self._with_room(), self._pool.hello().budgets, events)
            self._results.put(None)
        except BaseException as error:  # noqa: BLE001 (`shards` raises it)
            self._results.put(error)

    def _with_room(self) -> Iterator[Block | None]:
        """Yield the blocks; None while too many shards wait for the caller."""
        for block in self._blocks:
            while not self._room.acquire(blocking=False):
                if self._is_over:
                    return
                yield None
            yield block


def _refuse_problems(shard: EmbeddingShard) -> None:
    problem = next(filter(None, shard.problems.tobytes().decode().split("\n")), None)
    if problem:
        raise InputError(problem)
