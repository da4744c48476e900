"""Shards to tables: reads them in order and holds one at a time."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from virnucpro.classify import CALL_NAMES
from virnucpro.classify.consensus import UNSCORED, Float64, Int64
from virnucpro.errors import one_line
from virnucpro.prediction.outputs.columns import TABLES
from virnucpro.prediction.outputs.legacy import LegacyFiles
from virnucpro.prediction.outputs.multiqc import multiqc_files
from virnucpro.prediction.outputs.names import Names
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.probabilities import Calibrating, Probabilities, count_kinds
from virnucpro.prediction.outputs.reads import ReadWriter, TaggedReads
from virnucpro.prediction.outputs.reads_bam import BamWriter
from virnucpro.prediction.outputs.record_scores import FinishedRecords, RecordAssembler, lines
from virnucpro.prediction.outputs.regions import RegionFiles
from virnucpro.prediction.outputs.tables import TableWriter, chunk_rows, frame_rows, record_rows
from virnucpro.prediction.outputs.tracks import ScoreTrack
from virnucpro.prediction.shard import Shard, decode_shard
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.runs.shard_store import ShardStore

#: Why a record has no score, beside those that cannot be processed.
NO_OPEN_FRAME = "no open frame"
NOT_PROCESSED = "not processed"
#: Records that cannot be processed are listed up to this many; all are counted.
PROBLEMS_LISTED = 1000
#: What is said of an input without a record.
NO_RECORDS = "the input has no records: tables have their headers alone"


@dataclass
class Counts:
    """What a run found.

    Attributes:
        records: records read.
        bases: their letters.
        chunks: chunks cut.
        chunks_unscored: of these, chunks without a score.
        open_frames: frames scored.
        calls: records by call.
        unscored: unscored records by reason.
        calibrated: whether the bundle says what its scores mean; nothing of the next three if not.
        prevalence: share of viruses among the scored records that probabilities are for.
        prevalence_estimated: whether it was estimated from these records.
        records_expected_viral: the sum of their probabilities.
        problems: one line for each record that could not be processed, the first of them.
        notes: what the user should know of the records.
    """

    records: int = 0
    bases: int = 0
    chunks: int = 0
    chunks_unscored: int = 0
    open_frames: int = 0
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CALL_NAMES, 0))
    unscored: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((NO_OPEN_FRAME, NOT_PROCESSED), 0)
    )
    calibrated: bool = False
    prevalence: float | None = None
    prevalence_estimated: bool = False
    records_expected_viral: float | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, found: Probabilities) -> None:
        """Note what the scores of all records mean together."""
        self.calibrated, self.records_expected_viral = True, round(found.expected, 3)
        if len(found.kinds) or not found.is_estimated:  # else there is nothing to estimate it from
            self.prevalence, self.prevalence_estimated = found.prevalence, found.is_estimated

    def add(self, shard: Shard, finished: FinishedRecords) -> None:
        """Count a shard and the records that end in it."""
        problems = [one_line(problem) for problem in finished.problems if problem]
        self.records += len(finished.ids)
        self.bases += int(finished.lengths.sum())
        self.chunks += len(shard.chunk_C4)
        self.chunks_unscored += len(shard.chunk_C4) - len(np.unique(shard.frame_S5[:, 0]))
        self.open_frames += len(shard.frame_S5)
        for code, count in Counter(finished.scores.call.tolist()).items():
            self.calls[CALL_NAMES[code]] += count
        is_unscored = (finished.scores.call == UNSCORED).tolist()
        unprocessed = sum(
            bool(problem) and missing
            for problem, missing in zip(finished.problems, is_unscored, strict=True)
        )
        self.unscored[NOT_PROCESSED] += unprocessed
        self.unscored[NO_OPEN_FRAME] += sum(is_unscored) - unprocessed
        self.problems += problems[: PROBLEMS_LISTED - len(self.problems)]


def merge_shards(
    store: ShardStore,
    shards: int,
    outputs: Outputs,
    threshold: float,
    calibrating: Calibrating | None = None,
    tagged: TaggedReads | None = None,
) -> Counts:
    """Write every table of a run from its first `shards` shards.

    Names that are unique, and a calibration, need all records first, so that the shards are read
    two or three times.

    Args:
        store: the shards.
        shards: how many there are.
        outputs: where to write; the files appear together, when all of them are whole.
        threshold: a record is virus above this p_virus, or probability where there is one.
        calibrating: how scores become probabilities, where the bundle says it.
        tagged: what `reads.bam` is made of, where it is wanted.
    """
    counts, probabilities = Counts(), None
    if calibrating is not None:
        kinds = count_kinds(store, shards, calibrating.calibration)
        probabilities = Probabilities.of(kinds, calibrating, threshold)
        counts.note(probabilities)

    def threshold_of(chunks: Int64, bases: Int64) -> Float64 | float:
        return threshold if probabilities is None else probabilities.threshold_of(chunks, bases)

    assembler, names = RecordAssembler(threshold_of), Names(store, shards)
    with PartialFiles() as files:
        frames, chunks, records = (
            TableWriter(files.open(outputs.path(name)), TABLES[f"{name}.tsv"])
            for name in ("frames", "chunks", "records")
        )
        reads = ReadWriter(files, outputs, store)
        track = ScoreTrack(files.open(outputs.path("track")))
        fitted = None if calibrating is None else calibrating.calibration
        regions = RegionFiles(files, outputs, fitted)
        bam = _bam_writer(files, outputs, tagged)
        legacy = LegacyFiles(files, outputs) if outputs.legacy else None
        for index in range(shards):
            shard = decode_shard(store.load(index))
            ids, own_names = lines(shard.ids), names.of(shard)
            scores = shard.chunk_scores()
            finished = assembler.add(shard, scores, ids)
            frames.write(frame_rows(shard, ids))
            chunks.write(chunk_rows(shard, scores, ids))
            records.write(record_rows(finished, probabilities))
            track.add(shard, scores, own_names)
            regions.add(shard, scores, own_names)
            reads.add(index, shard, finished.calls, own_names)
            if bam:
                bam.add(finished)
            if legacy:
                legacy.add(shard, scores, own_names)
            counts.add(shard, finished)
        track.finish()
        if bam:
            bam.finish()
        if legacy:
            legacy.finish()
        counts.notes += [NO_RECORDS] if counts.records == 0 else names.notes()
        for name, content in multiqc_files(outputs.sample, counts.calls).items():
            files.open(outputs.path(name)).write(content)
    return counts


def _bam_writer(
    files: PartialFiles, outputs: Outputs, tagged: TaggedReads | None
) -> "BamWriter | None":
    if tagged is None:
        return None
    writer = BamWriter(files.open(outputs.path("bam")), tagged)
    files.at_end(writer.abandon)
    return writer
