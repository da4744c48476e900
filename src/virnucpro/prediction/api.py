"""The public function `predict`."""

from collections.abc import Sequence
from typing import Unpack

from virnucpro.prediction.job import load_named, prediction_job
from virnucpro.prediction.options import PredictKeywords, PredictOptions, with_options
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.runs.execution import execute
from virnucpro.runs.job import Observer
from virnucpro.sequences.inputs import AnyPath


@with_options
def predict(
    inputs: Sequence[AnyPath] | AnyPath,
    out: AnyPath,
    *,
    mates: Sequence[tuple[AnyPath, AnyPath]] = (),
    observer: Observer | None = None,
    **options: Unpack[PredictKeywords],
) -> Summary:
    """Predict which records are viral, and write tables under `out`.

    The same call resumes a run that was interrupted. Once the run is finished, it returns at once.

    Args:
        inputs: FASTA, FASTQ or unaligned BAM files, plain or compressed with gz, bz2, xz or zst;
            `-` for standard input.
        out: output directory: new, empty, or of an earlier attempt at the same call.
        mates: pairs of files with the mates 1 and the mates 2 in the same order; they are read
            before `inputs`.
        observer: receives the progress of the run, from one thread at a time.
        options: the fields of `PredictOptions`.

    Returns:
        the content of `summary.json`.

    Raises:
        InputError: an input cannot be read as nucleotide FASTA, FASTQ or BAM.
        BundleError: the bundle is unknown, incomplete or damaged.
        RunError: `out` holds something else, or another run.
        SettingsError: a setting does not fit this machine or this bundle.
    """
    chosen = PredictOptions(**options)
    job = prediction_job(load_named(chosen), inputs, mates, out, chosen)
    return execute(job, chosen.device, chosen.executor, observer)
