"""Time the encoders, their matrix products and the worker, with random weights."""

import platform
import queue
import resource
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

import msgspec
import torch

from virnucpro.bench.figures import (
    FORMAT,
    BenchReport,
    DnaRate,
    PrecisionReport,
    ProteinRate,
    WorkerRate,
)
from virnucpro.bench.floor import products_alone
from virnucpro.bench.prefetch import prefetch
from virnucpro.bench.random_inputs import (
    PUBLISHED_SIZES,
    SAMPLES,
    SMALL_SIZES,
    blocks_of,
    protein_sample,
    random_classifier,
    random_reads,
    sizes_of,
    whole_packs,
)
from virnucpro.bench.timing import in_turn, wait_for
from virnucpro.bundles import Bundle
from virnucpro.bundles.settle import choose_budgets, choose_device
from virnucpro.classify import FrameClassifier
from virnucpro.classify.frame_worker import FrameScorer, Prepared
from virnucpro.encoders.precision import fast_precisions
from virnucpro.errors import SettingsError
from virnucpro.runs.devices import Budgets, Device
from virnucpro.runs.pipeline import Pipeline
from virnucpro.sequences.blocks import Block

if TYPE_CHECKING:
    from virnucpro.encoders import Esm2Config
    from virnucpro.runs.task import Result

#: Number of forward passes of the protein encoder in one sample.
_PASSES = 2
#: Number of blocks in the worker's sample, and forward passes of the protein encoder per block.
_BLOCKS, _BLOCK_PASSES = 2, 4
_CHUNK_LENGTH = 500

#: Makes the timed worker from a bundle, a device, the chunk length, budgets and the network.
MakeWorker = Callable[[Bundle, Device, int, Budgets, FrameClassifier], FrameScorer]


def bench(
    make_worker: MakeWorker,
    sizes: str | None = None,
    *,
    device: str = "auto",
    precisions: Sequence[str] = (),
    samples: Sequence[str] = (),
    seconds: float = 3.0,
    on_progress: Callable[[str], None] = lambda _: None,
    on_measured: Callable[[BenchReport], None] = lambda _: None,
) -> BenchReport:
    """Measure the encoders and the worker on this machine, with random weights.

    Args:
        make_worker: makes the worker to time, for example the worker of `predict`.
        sizes: `3b` (the published encoders), the name of an embedded bundle, or a bundle's
            directory (default: `3b` on a GPU, `compact-pair` on a CPU).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precisions: precisions to measure (default: all that the device computes fast).
        samples: keys of `random_inputs.SAMPLES` (default: all).
        seconds: duration of each measurement.
        on_progress: called before each measurement with its name.
        on_measured: called after each precision with the report so far.

    Returns:
        the rates in each precision.

    Raises:
        BundleError: the bundle does not exist.
        SettingsError: the device does not support a precision or has too little memory, a sample is
            unknown, or the bundle does not have two encoders.
    """
    first = choose_device(device, precisions[0] if precisions else "auto")
    bundle = sizes_of(sizes or (PUBLISHED_SIZES if first.device.type == "cuda" else SMALL_SIZES))
    unknown = [name for name in samples if name not in SAMPLES]
    if unknown:
        raise SettingsError(f"sample {unknown[0]!r}: give {', '.join(SAMPLES)}")
    budgets = choose_budgets(first, list(bundle.manifest.encoders.values()))
    report = BenchReport(
        format=FORMAT,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        virnucpro=version("virnucpro"),
        torch=str(torch.__version__),
        python=platform.python_version(),
        device=first.kind,
        sizes=bundle.manifest.name,
        budgets=msgspec.to_builtins(budgets),
        precisions=[],
    )
    for precision in precisions or fast_precisions(first.device):
        chosen = choose_device(device, precision)
        try:
            measured = _Measured(make_worker, bundle, chosen, budgets, seconds, on_progress)
            report.precisions.append(measured.report(samples or tuple(SAMPLES)))
        except torch.OutOfMemoryError as error:
            raise SettingsError(
                f"{bundle.manifest.name} in {precision} does not fit into the memory of "
                f"{chosen.kind}; give another --precision or smaller --sizes"
            ) from error
        on_measured(report)
    return report


class _Measured:
    """Measurements in one precision on one device."""

    def __init__(
        self,
        make_worker: MakeWorker,
        bundle: Bundle,
        device: Device,
        budgets: Budgets,
        seconds: float,
        on_progress: Callable[[str], None],
    ) -> None:
        self._device, self._budgets, self._seconds = device, budgets, seconds
        self._on_progress = on_progress
        self._tell("weights and kernels")
        if device.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device.device)
        self._model = random_classifier(bundle, device)
        wait_for(device.device)
        started = time.perf_counter()
        self._worker = make_worker(bundle, device, _CHUNK_LENGTH, budgets, self._model)
        wait_for(device.device)
        self._start_seconds = time.perf_counter() - started

    def report(self, samples: Sequence[str]) -> PrecisionReport:
        """Measure every sample."""
        protein = [self._protein(sample) for sample in samples]
        prepared = {sample: self._prepared(sample) for sample in samples}
        worker = [self._whole_worker(sample, prepared[sample]) for sample in samples]
        return PrecisionReport(
            precision=self._device.precision,
            notes=self._worker.notes,
            start_seconds=round(self._start_seconds, 2),
            protein=protein,
            dna=[self._dna(sample, prepared[sample]) for sample in samples],
            worker=worker,
            peak_memory_bytes=self._peak_memory(),
        )

    def _protein(self, sample: str) -> ProteinRate:
        """Time the protein encoder, alternating with its matrix products."""
        self._tell(f"protein encoder, {sample}")
        budget, device = self._budgets.protein, self._device
        tokens = whole_packs(protein_sample(sample, (_PASSES + 1) * budget), budget)
        floor = products_alone(
            cast("Esm2Config", self._model.config.protein), budget, _PASSES, device.precision,
            device.device, device.dtype,
        )  # fmt: skip
        times = in_turn(
            {"encoder": lambda: self._model.embed_proteins(tokens, budget), "floor": floor},
            self._seconds, device.device,
        )  # fmt: skip
        rate = len(tokens.ids) / times["encoder"]
        floor_rate = _PASSES * budget / times["floor"]
        return ProteinRate(
            sample=sample,
            tokens_per_second=round(rate),
            floor_tokens_per_second=round(floor_rate),
            share_of_floor=round(rate / floor_rate, 4),
        )

    def _prepared(self, sample: str) -> list[Prepared]:
        """Return prepared blocks of random reads; each block fills several forward passes."""
        self._tell(f"reads, {sample}")
        tokens_a_read = sum(SAMPLES[sample]) // 6 + 2
        size = max(64, _BLOCK_PASSES * self._budgets.protein // tokens_a_read)
        blocks = blocks_of(random_reads(sample, _BLOCKS * size), size)
        return [self._worker.prepare(block) for block in blocks]

    def _dna(self, sample: str, prepared: list[Prepared]) -> DnaRate:
        """Time the DNA encoder while a second thread tokenizes."""
        self._tell(f"DNA encoder, {sample}")
        frames = [block.frames.dna for block in prepared]

        def seconds_of(passes: int) -> float:
            tokens = prefetch(self._worker.tokenize(dna) for _ in range(passes) for dna in frames)
            following = next(tokens, None)
            started = time.perf_counter()
            while following is not None:
                self._model.embed_dna(following, self._budgets.dna)
                following = next(tokens, None)
            wait_for(self._device.device)
            return time.perf_counter() - started

        passes = max(1, round(self._seconds / seconds_of(1)))
        taken = min(seconds_of(passes) for _ in range(2))
        sequences = sum(len(block.dna.lengths) for block in prepared)
        tokens = sum(len(block.dna.ids) for block in prepared)
        return DnaRate(
            sample=sample,
            sequences_per_second=round(passes * sequences / taken),
            tokens_per_sequence=round(tokens / sequences, 1),
        )

    def _whole_worker(self, sample: str, prepared: list[Prepared]) -> WorkerRate:
        """Time the way from reads in memory to shards, alternating with the encoders alone.

        The encoders alone read tokens that were made before.
        """
        self._tell(f"worker, {sample}")
        passes = max(1, round(self._seconds / 2))
        blocks = [block.block for block in prepared] * passes
        model, budgets, device = self._model, self._budgets, self._device.device

        def encoders() -> float:
            started = time.perf_counter()
            for block in prepared * passes:
                model.embed_proteins(block.protein, budgets.protein)
                model.embed_dna(block.dna, budgets.dna)
            wait_for(device)
            return time.perf_counter() - started

        times = [(self._seconds_of(blocks), encoders()) for _ in range(2)]
        whole, alone = (min(taken) for taken in zip(*times, strict=True))
        frames = passes * sum(len(block.frames.chunk) for block in prepared)
        reads = sum(len(block.pieces) for block in blocks)
        return WorkerRate(
            sample=sample,
            frames_per_second=round(frames / whole, 1),
            reads_per_second=round(reads / whole, 1),
            encoders_frames_per_second=round(frames / alone, 1),
            share_of_encoders=round(alone / whole, 4),
            hours_for_a_million_reads=round(1e6 * whole / reads / 3600, 3),
        )

    def _seconds_of(self, blocks: list[Block]) -> float:
        """Return the seconds that a run's pipeline takes for these blocks after a warm-up."""
        results: queue.Queue[Result | BaseException] = queue.Queue()
        pipeline = Pipeline(self._worker, results.put)
        times = []
        try:
            for block in [*blocks[-1:], *blocks]:
                pipeline.put(block)
            for _ in range(len(blocks) + 1):
                if isinstance(result := results.get(), BaseException):
                    raise result
                times.append(time.perf_counter())
        finally:
            pipeline.stop()
        return times[-1] - times[0]

    def _tell(self, what: str) -> None:
        self._on_progress(f"{self._device.precision}: {what}")

    def _peak_memory(self) -> int:
        if self._device.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
