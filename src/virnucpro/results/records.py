"""Records from chunks, also where a record goes on over several shards."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import ChunkScores, RecordScores, score_records
from virnucpro.classify.consensus import UNSCORED, VIRUS, Float64, Int64
from virnucpro.engine.shards import Shard, decode_shard
from virnucpro.engine.store import ShardStore

if TYPE_CHECKING:
    from collections.abc import Iterable

#: From scored chunks and bases of records to the p_virus above which they are virus.
ThresholdOf = Callable[[Int64, Int64], Float64 | float]


class FinishedRecords(NamedTuple):
    """Records whose last chunk is in the shard at hand.

    Attributes:
        ids: their ids.
        lengths: bases of each, int64.
        chunks: chunks of each, int64.
        scored_chunks: of these, with a score, int64.
        frames: open frames of each, int64.
        scores: score, call and tier of each.
        problems: why each cannot be processed, empty where it can.
        fasta: FASTA text of those called virus, end to end.
    """

    ids: pl.Series
    lengths: NDArray[np.int64]
    chunks: NDArray[np.int64]
    scored_chunks: NDArray[np.int64]
    frames: NDArray[np.int64]
    scores: RecordScores
    problems: list[str]
    fasta: list[bytes]


@dataclass
class _Unfinished:
    """What earlier shards hold of a record that goes on."""

    record_C: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    scores: ChunkScores = field(
        default_factory=lambda: ChunkScores(
            *(np.empty(0, t) for t in (int, float, float, np.uint8))
        )
    )
    fasta: list[tuple[int, slice]] = field(default_factory=list)
    problem: str = ""


class RecordAssembler:
    """Takes shards in order and gives back the records that they finish.

    Args:
        store: the shards, of which a record's FASTA text is read again once its call is known.
        threshold_of: says which p_virus a virus is above.
    """

    def __init__(self, store: ShardStore, threshold_of: ThresholdOf) -> None:
        self._store = store
        self._threshold_of = threshold_of
        self._unfinished = _Unfinished()

    def add(self, index: int, shard: Shard, scores: ChunkScores, ids: list[str]) -> FinishedRecords:
        """Return the records that end in shard `index`."""
        number, length, chunks, _, last_chunk, fasta_bytes = shard.piece_P6.T
        ends = last_chunk == chunks
        record_C = np.concatenate([self._unfinished.record_C, number[shard.chunk_C4[:, 0]]])
        joined: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(
            self._unfinished.scores, scores, strict=True
        )
        columns = [np.concatenate(parts) for parts in joined]
        finished = np.isin(record_C, number[ends])
        all_scores = ChunkScores(*(column[finished] for column in columns))
        place = np.searchsorted(number[ends], record_C[finished])
        count = int(ends.sum())
        scored = np.bincount(place[all_scores.call != UNSCORED], minlength=count)
        result = score_records(place, all_scores, count, self._threshold_of(scored, length[ends]))
        fasta = self._fasta(index, shard, fasta_bytes, ends, result.call == VIRUS)
        self._unfinished.record_C = record_C[~finished]
        self._unfinished.scores = ChunkScores(*(column[~finished] for column in columns))
        problems = self._problems(lines(shard.problems), ends.tolist())
        return FinishedRecords(
            pl.Series(
                [x for x, end in zip(ids, ends.tolist(), strict=True) if end], dtype=pl.String
            ),
            length[ends],
            chunks[ends],
            scored,
            np.bincount(place, weights=all_scores.frames, minlength=count).astype(np.int64),
            result,
            problems,
            fasta,
        )

    def _problems(self, problems: list[str], ends: list[bool]) -> list[str]:
        """Return the first problem of each finished record; keep that of an unfinished one."""
        found = []
        for problem, end in zip(problems, ends, strict=True):
            first = self._unfinished.problem or problem
            self._unfinished.problem = "" if end else first
            if end:
                found.append(first)
        return found

    def _fasta(
        self,
        index: int,
        shard: Shard,
        sizes: NDArray[np.int64],
        ends: NDArray[np.bool_],
        is_virus: NDArray[np.bool_],
    ) -> list[bytes]:
        """Collect the text of the finished viral records; keep the place of an unfinished one's."""
        stops = np.cumsum(sizes).tolist()
        texts: list[bytes] = []
        finished = iter(is_virus.tolist())
        for stop, size, end in zip(stops, sizes.tolist(), ends.tolist(), strict=True):
            here = slice(stop - size, stop)
            if not end:
                self._unfinished.fasta.append((index, here))
                continue
            if next(finished):
                texts.extend(self._earlier(*place) for place in self._unfinished.fasta)
                texts.append(shard.fasta[here].tobytes())
            self._unfinished.fasta.clear()
        return texts

    def _earlier(self, index: int, part: slice) -> bytes:
        return decode_shard(self._store.load(index)).fasta[part].tobytes()


def lines(text: NDArray[np.uint8]) -> list[str]:
    """Return the lines of a shard's text."""
    return text.tobytes().decode().split("\n")
