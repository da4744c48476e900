"""scores.bedgraph: the score along each record of more than one chunk (docs/contigs.md)."""

from typing import BinaryIO

import numpy as np
import polars as pl

from virnucpro.classify import ChunkScores
from virnucpro.classify.consensus import UNSCORED
from virnucpro.prediction.outputs.names import bed_name
from virnucpro.prediction.shard import Shard
from virnucpro.runs.partial_files import append_rows

_SCHEMA = {
    "number": pl.Int64,
    "record": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "score": pl.Float64,
}


class ScoreTrack:
    """Appends a line for each scored chunk of what is no pair, shard by shard.

    Lines do not overlap: bases that two scored chunks share are parted in the middle. Where a line
    ends is therefore known with the next chunk, and one chunk is all that is held.

    Args:
        file: where to write.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = pl.DataFrame(schema=_SCHEMA)

    def add(self, shard: Shard, scores: ChunkScores, names: list[str]) -> None:
        """Append a shard; `names` are those of its pieces."""
        chunks, mate = shard.piece_P9[shard.chunk_C4[:, 0]][:, [2, 5]].T
        shown = (scores.call != UNSCORED) & (chunks > 1) & (mate == 0)
        piece, _, start, end = shard.chunk_C4[shown].T
        number, score = shard.piece_P9[piece, 0], scores.balance[shown]
        records = pl.Series(map(bed_name, names), dtype=pl.String).gather(piece)
        columns = (number, records, start, end, score)
        found = pl.DataFrame(dict(zip(_SCHEMA, columns, strict=True)), schema=_SCHEMA)
        lines = _parted(pl.concat([self._held, found]))
        self._held = lines[-1:]
        self._write(lines[:-1])

    def finish(self) -> None:
        """Append what is held."""
        self._write(self._held)

    def _write(self, lines: pl.DataFrame) -> None:
        append_rows(self._file, lines.drop("number"))


def _parted(lines: pl.DataFrame) -> pl.DataFrame:
    """Let lines of a record that overlap touch in the middle of what they share."""
    number, start, end = (lines[name].to_numpy() for name in ("number", "start", "end"))
    overlap = np.flatnonzero((number[1:] == number[:-1]) & (start[1:] < end[:-1]))
    middle = (start[overlap + 1] + end[overlap]) // 2
    start, end = start.copy(), end.copy()
    start[overlap + 1], end[overlap] = middle, middle
    return lines.with_columns(pl.Series("start", start), pl.Series("end", end))
