"""What must be known about all records of a run before the first line is written."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from virnucpro.prediction.outputs.finished_records import RecordAssembler
from virnucpro.prediction.outputs.probabilities import Calibrating, KindCounts, Probabilities
from virnucpro.prediction.shard import Shard, decode_shard
from virnucpro.runs.shard_store import ShardStore
from virnucpro.runs.shard_text import lines_of
from virnucpro.sequences.repeated_ids import UInt64, id_hashes, repeated_hashes


class WholeRun(NamedTuple):
    """What the first pass found.

    Attributes:
        repeated: sorted hashes of the ids that several records have.
        repeats: number of records that have the id of an earlier one.
        probabilities: what the scores mean; None without a calibration.
    """

    repeated: UInt64
    repeats: int
    probabilities: Probabilities | None


def survey(
    store: ShardStore, shards: int, threshold: float, calibrating: Calibrating | None
) -> WholeRun:
    """Read the shards for what depends on all of them: repeated ids, prevalence and fdr.

    This is the only pass before the one that writes. It holds 8 bytes for each record, and the
    number of records of each kind of score.

    Args:
        store: the shards.
        shards: number of shards.
        threshold: a record is a virus if its probability is above this.
        calibrating: how scores become probabilities, if the bundle is calibrated.
    """
    kinds = None if calibrating is None else KindCounts(calibrating.calibration)
    repeated, repeats = repeated_hashes(_hashes(store, shards, kinds))
    probabilities = None
    if calibrating is not None and kinds is not None:
        probabilities = Probabilities.of(kinds.records, calibrating, threshold)
    return WholeRun(repeated, repeats, probabilities)


def _hashes(store: ShardStore, shards: int, kinds: KindCounts | None) -> Iterator[UInt64]:
    """Yield the hashes of the ids of the records that begin in each shard; count their kinds."""
    records = RecordAssembler(math.inf)  # its calls are not used
    for index in range(shards):
        shard = decode_shard(store.load(index))
        ids = lines_of(shard.ids)
        if kinds is not None:
            _count(kinds, records, shard, ids)
        yield id_hashes(ids)[shard.begins]


def _count(kinds: KindCounts, records: RecordAssembler, shard: Shard, ids: list[str]) -> None:
    finished = records.add(shard, shard.chunk_scores(), ids)
    kinds.add(finished.scores.p_virus, finished.scored_chunks, finished.chunk_bases)
