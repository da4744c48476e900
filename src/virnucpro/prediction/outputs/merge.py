"""From shards to output files: one pass, in which each output is a sink."""

from virnucpro.prediction.outputs.counts import Counts
from virnucpro.prediction.outputs.first_pass import survey
from virnucpro.prediction.outputs.legacy import LegacyFiles
from virnucpro.prediction.outputs.multiqc import MultiqcFiles
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.probabilities import Calibrating
from virnucpro.prediction.outputs.reads_bam import TaggedReads, bam_writer
from virnucpro.prediction.outputs.region_files import RegionFiles
from virnucpro.prediction.outputs.scored_shards import ShardScorer, Sink
from virnucpro.prediction.outputs.sorted_reads import SortedReads
from virnucpro.prediction.outputs.tables import all_tables
from virnucpro.prediction.outputs.tracks import ScoreTrack
from virnucpro.prediction.report.run_findings import Findings
from virnucpro.prediction.shard import decode_shard
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.runs.shard_store import ShardStore


def merge_shards(
    store: ShardStore,
    shards: int,
    outputs: Outputs,
    threshold: float,
    calibrating: Calibrating | None = None,
    tagged: TaggedReads | None = None,
    findings: Findings | None = None,
) -> Counts:
    """Write the output files of a run from its first `shards` shards.

    Each shard is read twice, one at a time: first for what depends on all records
    (`first_pass.survey`), then for everything that is written. The files appear together, when all
    of them are complete.

    Args:
        store: the shards.
        shards: number of shards.
        outputs: the files.
        threshold: a record is a virus if its p_virus is above this, or its probability if the
            bundle is calibrated.
        calibrating: how scores become probabilities, if the bundle is calibrated.
        tagged: what `reads.bam` is made from, if it is wanted.
        findings: collects what the report shows, if it is wanted.
    """
    whole = survey(store, shards, threshold, calibrating)
    fitted = None if calibrating is None else calibrating.calibration
    scorer, counts = ShardScorer(whole, threshold, fitted), Counts.of(whole.probabilities)
    with PartialFiles() as files:
        sinks: list[Sink] = [
            counts,
            *all_tables(files, outputs),
            ScoreTrack(files.open(outputs.path("track"))),
            RegionFiles(files, outputs),
            SortedReads(files, outputs, store),
            *([bam_writer(files, outputs, tagged)] if tagged else []),
            *([LegacyFiles(files, outputs)] if outputs.legacy else []),
            MultiqcFiles(files, outputs, counts),
            *([findings] if findings else []),
        ]
        for index in range(shards):
            part = scorer.add(index, decode_shard(store.load(index)))
            for sink in sinks:
                sink.add(part)
        for sink in sinks:
            sink.finish()
    counts.notes += scorer.names.notes()
    return counts
