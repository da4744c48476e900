"""summary.json: what a run found and how fast."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from virnucpro.files import write_whole
from virnucpro.prediction.outputs.columns import TABLES_VERSION
from virnucpro.prediction.outputs.merge import Counts, merge_shards
from virnucpro.prediction.outputs.methods import methods
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.probabilities import Calibrating
from virnucpro.prediction.outputs.reads import TaggedReads
from virnucpro.runs.binding import Binding
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.run import RunManifest
from virnucpro.runs.shard_store import ShardStore

FORMAT = 1


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `summary.json`.

    Attributes:
        format: version of this format.
        tables: version of the tables' columns.
        bundle: name and version.
        device: kind of device.
        precision: the encoders' arithmetic.
        records: records read.
        bases: their letters.
        chunks: chunks cut.
        chunks_unscored: of these, chunks without a score.
        open_frames: frames scored.
        calls: records by call.
        unscored: unscored records by reason.
        calibrated: whether the bundle says what its scores mean.
        prevalence: share of viruses among the scored records that probabilities are for; null
            without a calibration, or to be estimated where no record has a score.
        prevalence_estimated: whether it was estimated from these records.
        records_expected_viral: the sum of their probabilities; null without a calibration.
        problems: one line for each record that could not be processed, the first 1,000.
        skipped: lines of BAM passed over, being secondary or supplementary alignments.
        resumed_records: records whose scores an earlier attempt left.
        packs_cut: packs of this attempt that did not fit into memory and were done in two.
        frames_redone: frames of this attempt whose scores were not finite and were computed anew
            in fp32.
        seconds: time of each stage in the attempt that finished. `reading`, `chunks and frames`
            and `tokens` run on the host beside the device's stages; `scoring` is all of it by
            the clock, `start-up` and `tables` come before and after.
        records_per_second: records of this attempt over `scoring`.
        tokens_per_second: tokens of both encoders in this attempt over `scoring`.
        threshold: a record is virus above this probability, or p_virus where the bundle is not
            calibrated; where no --max-fdr says it.
        notes: what the user should know of the settings, the inputs and the records.
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
        """Put counts and times together.

        Args:
            counts: what the shards hold.
            progress: what this attempt did.
            seconds: time of each stage; must have `scoring`.
            notes: what was known before.
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


@dataclass(frozen=True)
class PredictionFiles:
    """The `Product` of `predict`.

    Attributes:
        outputs: the files.
        threshold: a record is virus above this p_virus, or probability where there is one.
        calibrating: how scores become probabilities, where the bundle says it.
        tagged: what `reads.bam` is made of, where it is wanted.
        notes: what the user should know of the settings and the inputs.
    """

    outputs: Outputs
    threshold: float
    calibrating: Calibrating | None = None
    tagged: TaggedReads | None = None
    notes: tuple[str, ...] = ()
    summary_type = Summary

    def merge(self, store: ShardStore, shards: int) -> Counts:
        """Write the tables; a report of earlier ones goes."""
        self.outputs.path("report").unlink(missing_ok=True)
        return merge_shards(
            store, shards, self.outputs, self.threshold, self.calibrating, self.tagged
        )

    def summary(
        self, found: Counts, progress: Progress, seconds: dict[str, float], binding: Binding
    ) -> Summary:
        """Put counts and times together."""
        return Summary.of(
            found, progress, seconds,
            bundle=binding.bundle, device=binding.device, precision=binding.precision,
            threshold=self.threshold, notes=self.notes,
        )  # fmt: skip

    def conclude(self, manifest: RunManifest, summary: Summary) -> None:
        """Write what is said of the whole run."""
        write_whole(self.outputs.path("methods"), methods(manifest, summary).encode() + b"\n")
