"""`predict_samples`: a run for each sample of a sheet, and what they came to together."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from virnucpro.errors import InputError
from virnucpro.prediction.job import PredictOptions, named_bundle, prediction_job
from virnucpro.prediction.outputs.paths import ReadFormat, SheetOutputs
from virnucpro.prediction.outputs.sheet_tables import SampleSummaries, check_directory, write_tables
from virnucpro.prediction.report.api import check_page, check_show, show_samples
from virnucpro.runs.execution import execute_all
from virnucpro.runs.job import Executor, Job, Observer, SamplePosition
from virnucpro.sequences.blocks import DEFAULT_BLOCK_CHUNKS, input_bytes
from virnucpro.sequences.frames import FrameKind
from virnucpro.sequences.sample_sheet import read_sheet
from virnucpro.system.directories import checked_out

if TYPE_CHECKING:
    from virnucpro.prediction.outputs.summary import Summary


def predict_samples(
    sheet: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    interleaved: bool = False,
    bundle: str | os.PathLike[str] = "compact",
    head: str | os.PathLike[str] | None = None,
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
) -> SampleSummaries:
    """Do for each sample of a sheet what `predict` does, and load the networks once.

    A sample's run lies in `out/SAMPLE`: the files that `predict` writes there alone but for its
    report. Beside them come `samples.tsv`, a line a sample, and `records.tsv` of all. The same call
    continues after an interruption, and does what the sheet has gained. A sample whose files are
    damaged does not stop the others; the same call tries it again.

    Args:
        sheet: CSV or TSV with the columns `sample` (the name of its folder) and `files` or
            `fastq_1` (a file; a path starts at the sheet's directory), perhaps `fastq_2` (its
            mates); a sample of several files has several lines.
        out: output directory of all samples: new, or of an earlier attempt.
        interleaved: FASTA and FASTQ under `files` hold mates in turn.
        bundle: as for `predict`, and so all that follow.
        head: a head to use with the bundle's encoders.
        chunk_length: bases of a chunk.
        frames: how frames are drawn.
        prevalence: share of viruses among the scored records of each sample; by default
            estimated for each.
        max_fdr: call virus up to this expected share of false viruses in each sample.
        device: one worker each, which serve one sample after the other.
        precision: the encoders' arithmetic.
        legacy: also write the original VirNucPro's two files, for each sample.
        write: calls of the records whose reads are written: `virus`, `other`, `unscored`.
        reads: how, `fasta` or `fastq`.
        bam: also write all reads of a sample to its `reads.bam`, with their call in tags.
        compressed: compress tables and sequences with gzip.
        report: draw `report.html`, which compares the samples; `report` draws that of one.
        block_chunks: most chunks of a block.
        executor: `local`, `ray` or `launched`.
        observer: is told how the runs go, never by two threads at once.

    Returns:
        what the `summary.json` of each sample holds, and what is wrong with those whose files
            are damaged.

    Raises:
        InputError: the sheet makes no sense, or a file is missing or something else, before
            anything starts.
        BundleError: the bundle is unknown, incomplete or damaged.
        RunError: `out` or a sample's folder holds something else.
        SettingsError: a setting does not fit this machine or this bundle.
    """
    directory, found = checked_out(out), read_sheet(sheet)
    named = named_bundle(bundle, head)
    options = PredictOptions(
        interleaved, chunk_length, frames, prevalence, max_fdr, precision, legacy, tuple(write),
        reads, bam, compressed, report=False, block_chunks=block_chunks,
    )  # fmt: skip
    runs: dict[str, Job[Summary]] = {}
    damaged: dict[str, str] = {}
    for sample in found.samples:
        folder = directory / sample.name
        try:
            job = prediction_job(*named, sample.files, sample.mates, folder, options)
        except InputError as error:
            damaged[sample.name] = str(error)
        else:
            runs[sample.name] = job
    outputs = SheetOutputs(directory, compressed, report)
    check_directory(outputs, runs)
    if report:
        check_page(outputs.path("report"))
        check_show()
    size = input_bytes([source for job in runs.values() for source in job.inputs])
    jobs = [
        replace(
            job,
            notes=[*found.notes, *job.notes],
            sample=SamplePosition(name, number, len(runs), size, outputs),
        )
        for number, (name, job) in enumerate(runs.items(), start=1)
    ]
    done: dict[str, Summary] = {}
    ends = execute_all(jobs, device, executor, observer) if jobs else []
    for name, end in zip(runs, ends, strict=True):
        if isinstance(end, InputError):
            damaged[name] = str(end)
        else:
            done[name] = end
    summaries = SampleSummaries(done, damaged)
    tables = {name: runs[name].product.outputs.path("records") for name in done}
    if write_tables(outputs, summaries, tables) and report and done:
        show_samples(outputs, done, damaged, named[1])
    return summaries
