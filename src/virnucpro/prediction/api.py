"""The public function `predict`; each command of the command line is such a function."""

from collections.abc import Sequence
from typing import Literal

from virnucpro.prediction.job import PredictOptions, named_bundle, prediction_job
from virnucpro.prediction.outputs.paths import ReadFormat
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.runs.execution import execute
from virnucpro.runs.job import Executor, Observer
from virnucpro.sequences.blocks import DEFAULT_BLOCK_CHUNKS
from virnucpro.sequences.frames import FrameKind
from virnucpro.sequences.inputs import AnyPath


def predict(
    inputs: Sequence[AnyPath] | AnyPath,
    out: AnyPath,
    *,
    mates: Sequence[tuple[AnyPath, AnyPath]] = (),
    interleaved: bool = False,
    bundle: AnyPath = "compact",
    head: AnyPath | None = None,
    chunk_length: int | None = None,
    frames: FrameKind | None = None,
    prevalence: float | Literal["auto"] | None = None,
    max_fdr: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    legacy: bool = False,
    write: Sequence[str] = ("virus",),
    reads: ReadFormat = "fasta",
    bam: bool = False,
    compressed: bool = False,
    report: bool = True,
    block_chunks: int = DEFAULT_BLOCK_CHUNKS,
    executor: Executor = "local",
    observer: Observer | None = None,
) -> Summary:
    """Say which records are viral, and write tables under `out`.

    The same call continues a run that was interrupted; once it is finished, it returns at once.

    Args:
        inputs: FASTA, FASTQ or unaligned BAM files, plain, gz, bz2, xz or zst; `-` for standard
            input.
        out: output directory: new, empty, or of an earlier attempt at the same call.
        mates: pairs of files in step, of mates 1 and of mates 2; read before `inputs`.
        interleaved: FASTA and FASTQ of `inputs` hold mates in turn.
        bundle: name of a bundle, or its directory.
        head: a head to use with the bundle's encoders instead of its own, as `500_model.pth`.
        chunk_length: bases of a chunk; by default what the bundle says.
        frames: how frames are drawn; by default what the bundle says.
        prevalence: share of viruses among the scored records, which probabilities depend on;
            by default, or `auto`, it is estimated from them where the bundle is calibrated.
        max_fdr: call virus up to this expected share of false viruses, in place of the bundle's
            threshold.
        device: `auto` (all GPUs, else the CPU), `cuda` (all GPUs), or names parted by commas, as
            `cuda:0,cuda:1` or `cpu,cpu`; one worker each.
        precision: `auto` (fp16 where a GPU computes it fast, weights in 8 or 4 bits where 16 do not
            fit its memory; on a CPU int8 for networks that read six frames, where it has the
            instructions; else fp32), `fp32`, `bf16`, `fp16`, `fp8`, `int8` or `int4`.
        legacy: also write the original VirNucPro's two files.
        write: calls of the records whose reads are written: `virus`, `other`, `unscored`.
        reads: how, `fasta` or `fastq`.
        bam: also write all reads to `reads.bam`, with their call in tags.
        compressed: compress tables and sequences with gzip.
        report: draw `report.html` at the end.
        block_chunks: most chunks of a block, the unit that an interruption loses.
        executor: `local`, `ray` (every device of a Ray cluster), or `launched` (one device of each
            process that torchrun, accelerate launch or srun started).
        observer: is told how the run goes, never by two threads at once.

    Returns:
        what `summary.json` holds.

    Raises:
        InputError: an input cannot be read as nucleotide FASTA, FASTQ or BAM.
        BundleError: the bundle is unknown, incomplete or damaged.
        RunError: `out` holds something else, or another run.
        SettingsError: a setting does not fit this machine or this bundle.
    """
    options = PredictOptions(
        interleaved, chunk_length, frames, prevalence, max_fdr, precision, legacy, tuple(write),
        reads, bam, compressed, report, block_chunks,
    )  # fmt: skip
    job = prediction_job(*named_bundle(bundle, head), inputs, mates, out, options)
    return execute(job, device, executor, observer)
