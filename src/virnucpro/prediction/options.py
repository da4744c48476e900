"""The options of `predict`, shared by the command line, the Python functions and sample sheets."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypedDict, TypeVar, get_args

from virnucpro.errors import SettingsError
from virnucpro.prediction.outputs.paths import READ_CALLS, ReadFormat
from virnucpro.runs.job import Executor, check_executor
from virnucpro.sequences.blocks import DEFAULT_BLOCK_CHUNKS
from virnucpro.sequences.fragments import ReadOptions
from virnucpro.sequences.frames import FrameKind
from virnucpro.sequences.inputs import AnyPath

#: Largest number of chunks of a block, which must fit into memory.
_LARGEST_BLOCK = 1_000_000
#: How run.json spells a share that is estimated, and one that is not used.
_ESTIMATED, _UNUSED = "auto", "none"
#: A share of viruses: known, to be estimated, or not used.
Share = float | Literal["auto"] | None
FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of `predict` and `predict_samples`; each is a keyword of both.

    Attributes:
        interleaved: FASTA and FASTQ files hold the two mates of each pair one after the other.
        bundle: name of a bundle, or its directory.
        head: a head to use with the encoders of the bundle instead of its own, for example
            `500_model.pth`.
        chunk_length: bases of a chunk (default: the first length of the bundle).
        frames: `open`, `segments` or `whole` (default: as the bundle says).
        prevalence: share of viruses among the scored records, on which probabilities depend.
            `auto`, the default, estimates it from the scores; needs a calibrated bundle.
        max_fdr: call records virus up to this expected share of false viruses, instead of by the
            threshold of the bundle; needs a calibrated bundle.
        device: `auto` (all GPUs, or the CPU if there are none), `cuda` (all GPUs), or names
            separated by commas, for example `cuda:0,cuda:1` or `cpu,cpu`; each gets a worker.
        precision: `fp32`, `bf16`, `fp16`, `fp8`, `int8`, `int4` or `auto`. `auto` chooses fp16 on
            GPUs that compute it fast, with weights in 8 or 4 bits if they would not fit otherwise;
            on CPUs with the instructions, int8 for networks that read six frames; otherwise fp32.
        legacy: also write the two files of the original VirNucPro.
        write: calls of the records whose reads are written: `virus`, `other`, `unscored`.
        reads: format of these reads, `fasta` or `fastq`.
        bam: also write all reads to `reads.bam`, with their calls in tags.
        compressed: compress tables and sequences with gzip.
        report: draw `report.html` at the end.
        block_chunks: largest number of chunks of a block, the unit that an interruption loses.
        executor: `local`, `ray` (every device of a Ray cluster), or `launched` (one device for each
            process that torchrun, accelerate launch or srun has started).

    Raises:
        SettingsError: an option has a value that no bundle and no machine supports.
    """

    interleaved: bool = False
    bundle: AnyPath = "compact"
    head: AnyPath | None = None
    chunk_length: int | None = None
    frames: FrameKind | None = None
    prevalence: Share = None
    max_fdr: float | None = None
    device: str = "auto"
    precision: str = "auto"
    legacy: bool = False
    write: Sequence[str] = ("virus",)
    reads: ReadFormat = "fasta"
    bam: bool = False
    compressed: bool = False
    report: bool = True
    block_chunks: int = DEFAULT_BLOCK_CHUNKS
    executor: Executor = "local"

    def __post_init__(self) -> None:
        check_executor(self.executor)
        if not 1 <= self.block_chunks <= _LARGEST_BLOCK:
            raise SettingsError(f"--block-chunks {self.block_chunks}: give 1 to {_LARGEST_BLOCK:,}")
        if self.reads not in get_args(ReadFormat):
            raise SettingsError(f"--reads {self.reads}: give {' or '.join(get_args(ReadFormat))}")
        for call in self.write:
            if call not in READ_CALLS:
                raise SettingsError(f"--write {call}: give {', '.join(READ_CALLS)}")
        for option, share in self.shares.items():
            if share not in (None, "auto") and not 0 < float(share) < 1:
                raise SettingsError(
                    f"{option} {share}: give a share between 0 and 1, for example 0.05"
                )

    @property
    def shares(self) -> dict[str, Share]:
        """The options that need a calibrated bundle."""
        return {"--prevalence": self.prevalence, "--max-fdr": self.max_fdr}

    @property
    def calls(self) -> tuple[str, ...]:
        """`write` without repetitions, in the order of the files."""
        return tuple(call for call in READ_CALLS if call in self.write)

    @property
    def reading(self) -> ReadOptions:
        """How the inputs are read."""
        return ReadOptions(self.interleaved, self.reads == "fastq", self.bam)


class PredictKeywords(TypedDict, total=False):
    """The fields of `PredictOptions` as keywords of a function, for type checkers."""

    interleaved: bool
    bundle: AnyPath
    head: AnyPath | None
    chunk_length: int | None
    frames: FrameKind | None
    prevalence: Share
    max_fdr: float | None
    device: str
    precision: str
    legacy: bool
    write: Sequence[str]
    reads: ReadFormat
    bam: bool
    compressed: bool
    report: bool
    block_chunks: int
    executor: Executor


def with_options(function: FunctionT) -> FunctionT:
    """List the fields of `PredictOptions` in a function's signature, for `help` and completion."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in fields(PredictOptions)
    ]
    function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return function


def share_to_text(share: Share) -> str:
    """Return how run.json spells a share."""
    return _UNUSED if share is None else str(share)


def share_of_text(text: object) -> Share:
    """Return a share that `share_to_text` has spelled."""
    if text == _UNUSED:
        return None
    return "auto" if text == _ESTIMATED else float(str(text))
