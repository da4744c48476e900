"""`predict_samples`: a run for each sample of a sheet, and the tables of all samples."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from virnucpro.errors import InputError
from virnucpro.prediction.job import load_named, prediction_job
from virnucpro.prediction.options import PredictKeywords, PredictOptions, with_options
from virnucpro.prediction.outputs.paths import SheetOutputs
from virnucpro.prediction.outputs.sheet_tables import SampleSummaries, check_directory, write_tables
from virnucpro.prediction.report.api import check_page, check_show, show_samples
from virnucpro.runs.execution import execute_all
from virnucpro.runs.job import Job, Observer, SamplePosition
from virnucpro.sequences.blocks import input_bytes
from virnucpro.sequences.sample_sheet import read_sheet
from virnucpro.system.directories import checked_out

if TYPE_CHECKING:
    from virnucpro.prediction.outputs.summary import Summary


@with_options
def predict_samples(
    sheet: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    observer: Observer | None = None,
    **options: Unpack[PredictKeywords],
) -> SampleSummaries:
    """Run `predict` for each sample of a sheet; the networks are loaded once.

    The run of a sample is in `out/SAMPLE`, with the files that `predict` writes except the report.
    `out` also gets `samples.tsv`, with a line per sample, and `records.tsv` of all samples. The
    same call resumes after an interruption, and adds samples that the sheet has gained. A sample
    with damaged files does not stop the others; the same call tries it again.

    Args:
        sheet: CSV or TSV with the columns `sample` (name of the folder), `files` or `fastq_1` (a
            file; relative paths start at the directory of the sheet), and optionally `fastq_2`
            (the mates). A sample with several files has several lines.
        out: output directory of all samples: new, or of an earlier attempt.
        observer: receives the progress of the runs, from one thread at a time.
        options: the fields of `PredictOptions`, the same for all samples. `report` draws a page
            that compares the samples.

    Returns:
        the content of the `summary.json` of each sample, and what is wrong with the samples whose
        files are damaged.

    Raises:
        InputError: the sheet is invalid, or a file is missing or of another kind; raised before
            anything starts.
        BundleError: the bundle is unknown, incomplete or damaged.
        RunError: `out` or the folder of a sample holds something else.
        SettingsError: a setting does not fit this machine or this bundle.
    """
    directory, found = checked_out(out), read_sheet(sheet)
    chosen = PredictOptions(**options)
    bundle = load_named(chosen)
    each = replace(chosen, report=False)
    runs: dict[str, Job[Summary]] = {}
    damaged: dict[str, str] = {}
    for sample in found.samples:
        folder = directory / sample.name
        try:
            job = prediction_job(bundle, sample.files, sample.mates, folder, each)
        except InputError as error:
            damaged[sample.name] = str(error)
        else:
            runs[sample.name] = job
    outputs = SheetOutputs(directory, chosen.compressed, chosen.report)
    check_directory(outputs, runs)
    if chosen.report:
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
    ends = execute_all(jobs, chosen.device, chosen.executor, observer) if jobs else []
    for name, end in zip(runs, ends, strict=True):
        if isinstance(end, InputError):
            damaged[name] = str(end)
        else:
            done[name] = end
    summaries = SampleSummaries(done, damaged)
    tables = {name: runs[name].product.outputs.path("records") for name in done}
    if write_tables(outputs, summaries, tables) and chosen.report and done:
        show_samples(outputs, done, damaged, bundle.loaded)
    return summaries
