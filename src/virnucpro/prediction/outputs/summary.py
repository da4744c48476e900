"""summary.json: what a run found, and how fast."""

from collections.abc import Sequence

import msgspec

from virnucpro.prediction.outputs.columns import TABLES_VERSION
from virnucpro.prediction.outputs.counts import Counts
from virnucpro.runs.block_loop import Progress

FORMAT = 1


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `summary.json`.

    Attributes:
        format: version of this format.
        tables: version of the columns of the tables.
        bundle: name and version of the bundle.
        device: kind of device.
        precision: arithmetic of the encoders.
        records: number of records read.
        bases: number of their letters.
        chunks: number of chunks.
        chunks_unscored: number of chunks without a score.
        open_frames: number of frames scored.
        calls: number of records by call.
        unscored: number of unscored records by reason.
        calibrated: whether the bundle is calibrated.
        prevalence: share of viruses among the scored records that the probabilities assume; null
            without a calibration, or if no record has a score to estimate it from.
        prevalence_estimated: whether the prevalence was estimated from these records.
        records_expected_viral: sum of the probabilities; null without a calibration.
        problems: one line for each of the first 1,000 records that could not be processed.
        skipped: number of secondary and supplementary BAM alignments that were skipped.
        resumed_records: number of records that an earlier attempt scored.
        packs_cut: number of batches of this attempt that did not fit into memory and were computed
            in two parts.
        frames_redone: number of frames of this attempt whose scores were not finite and were
            computed again in fp32.
        seconds: time of each stage in the attempt that finished. `reading`, `chunks and frames`
            and `tokens` run on the host in parallel to the stages of the device; `scoring` is the
            elapsed time of all of them, after `start-up` and before `tables`.
        records_per_second: records of this attempt divided by `scoring`.
        tokens_per_second: tokens of both encoders in this attempt divided by `scoring`.
        threshold: without --max-fdr, a record is a virus if its probability is above this, or its
            p_virus if the bundle is not calibrated.
        notes: what the user should know about the settings, the inputs and the records.
    """

    format: int
    tables: int
    bundle: str
    device: str
    precision: str
    records: int
    bases: int
    chunks: int
    chunks_unscored: int
    open_frames: int
    calls: dict[str, int]
    unscored: dict[str, int]
    calibrated: bool
    prevalence: float | None
    prevalence_estimated: bool
    records_expected_viral: float | None
    problems: list[str]
    skipped: int
    resumed_records: int
    packs_cut: int
    frames_redone: int
    seconds: dict[str, float]
    records_per_second: float
    tokens_per_second: float
    threshold: float
    notes: list[str] = []

    @classmethod
    def of(
        cls,
        counts: Counts,
        progress: Progress,
        seconds: dict[str, float],
        notes: Sequence[str] = (),
        **run: str | float,
    ) -> "Summary":
        """Combine counts and times.

        Args:
            counts: what the run found.
            progress: what this attempt did.
            seconds: time of each stage, including `scoring`.
            notes: what was already known before the merge.
            run: bundle, device, precision and threshold.
        """
        scoring = max(seconds["scoring"], 1e-9)
        return msgspec.convert(
            {
                "format": FORMAT,
                "tables": TABLES_VERSION,
                **vars(counts),
                **run,
                "skipped": progress.skipped,
                "resumed_records": progress.resumed_records,
                "packs_cut": progress.work.packs_cut,
                "frames_redone": progress.work.frames_redone,
                "seconds": {stage: round(time, 3) for stage, time in seconds.items()},
                "records_per_second": round(progress.work.records / scoring, 1),
                "tokens_per_second": round(progress.work.tokens / scoring, 1),
                "notes": [*notes, *counts.notes],
            },
            cls,
        )
