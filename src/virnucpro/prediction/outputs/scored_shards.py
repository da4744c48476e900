"""A shard with everything that the outputs need from it, each thing computed once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from virnucpro.bundles.manifest import Calibration
from virnucpro.classify import ChunkScores
from virnucpro.classify.consensus import Int64
from virnucpro.prediction.outputs.finished_records import FinishedRecords, RecordAssembler
from virnucpro.prediction.outputs.first_pass import WholeRun
from virnucpro.prediction.outputs.regions import RecordRegions, RegionFinder
from virnucpro.prediction.outputs.unique_names import UniqueNames
from virnucpro.prediction.shard import Shard
from virnucpro.runs.shard_text import lines_of
from virnucpro.sequences.frames import codon_span


@dataclass(frozen=True)
class ScoredShard:
    """What a sink gets.

    Attributes:
        index: index of the shard.
        shard: the shard.
        ids: ids of its pieces.
        names: unique names of its pieces.
        chunk_scores: scores and calls of its chunks.
        records: the records that end in it.
        regions: the viral regions of these records, for the records that have some.
    """

    index: int
    shard: Shard
    ids: list[str]
    names: list[str]
    chunk_scores: ChunkScores
    records: FinishedRecords
    regions: list[RecordRegions]

    @cached_property
    def frame_spans(self) -> tuple[Int64, Int64]:
        """Start and end of the codons of each frame, on its record or mate."""
        chunk, frame, _, first_codon, codons = self.shard.frame_S5.T
        _, _, start, end = self.shard.chunk_C4[chunk].T
        return codon_span(frame, first_codon, codons, start, end)


class Sink(Protocol):
    """An output of a run, written as the shards pass by."""

    def add(self, part: ScoredShard) -> None:
        """Take the next shard."""

    def finish(self) -> None:
        """Write what needed all shards."""


class ShardScorer:
    """Turns the shards of a run, in order, into what the sinks get.

    Args:
        whole: what is known about all records.
        threshold: without probabilities, a record is a virus if its p_virus is above this.
        calibration: calibration of the bundle, if it has one.
    """

    def __init__(
        self, whole: WholeRun, threshold: float, calibration: Calibration | None = None
    ) -> None:
        self.names = UniqueNames(whole.repeated, whole.repeats)
        self._records = RecordAssembler(threshold, whole.probabilities)
        self._regions = RegionFinder(calibration)

    def add(self, index: int, shard: Shard) -> ScoredShard:
        """Return what the sinks get from a shard."""
        ids, scores = lines_of(shard.ids), shard.chunk_scores()
        names = self.names.of_pieces(shard, ids)
        records = self._records.add(shard, scores, ids)
        regions = self._regions.add(shard, scores, names)
        return ScoredShard(index, shard, ids, names, scores, records, regions)
