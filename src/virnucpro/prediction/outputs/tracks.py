"""scores.bedgraph: the score along each record of more than one chunk (docs/contigs.md)."""

from typing import BinaryIO

import numpy as np
import polars as pl

from virnucpro.classify.consensus import UNSCORED
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.prediction.outputs.tables import append_rows
from virnucpro.prediction.outputs.unique_names import bed_name

_SCHEMA = {
    "number": pl.Int64,
    "record": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "score": pl.Float64,
}


class ScoreTrack:
    """A sink that writes a line for each scored chunk of a record that is not a pair.

    Lines do not overlap: two scored chunks share their common bases at the middle. The end of a
    line is therefore known only with the next chunk, so one line is held.

    Args:
        file: the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = pl.DataFrame(schema=_SCHEMA)

    def add(self, part: ScoredShard) -> None:
        """Append the lines of a shard."""
        shard, scores = part.shard, part.chunk_scores
        chunks, mate = shard.piece_P9[shard.chunk_C4[:, 0]][:, [2, 5]].T
        shown = (scores.call != UNSCORED) & (chunks > 1) & (mate == 0)
        if not shown.any():
            return
        piece, _, start, end = shard.chunk_C4[shown].T
        number, score = shard.piece_P9[piece, 0], scores.balance[shown]
        records = pl.Series(map(bed_name, part.names), dtype=pl.String).gather(piece)
        columns = (number, records, start, end, score)
        found = pl.DataFrame(dict(zip(_SCHEMA, columns, strict=True)), schema=_SCHEMA)
        lines = _without_overlaps(pl.concat([self._held, found]))
        self._held = lines[-1:]
        self._write(lines[:-1])

    def finish(self) -> None:
        """Append the line that is held."""
        self._write(self._held)

    def _write(self, lines: pl.DataFrame) -> None:
        append_rows(self._file, lines.drop("number"))


def _without_overlaps(lines: pl.DataFrame) -> pl.DataFrame:
    """Let overlapping lines of a record meet at the middle of their common bases."""
    number, start, end = (lines[name].to_numpy() for name in ("number", "start", "end"))
    overlap = np.flatnonzero((number[1:] == number[:-1]) & (start[1:] < end[:-1]))
    middle = (start[overlap + 1] + end[overlap]) // 2
    start, end = start.copy(), end.copy()
    start[overlap + 1], end[overlap] = middle, middle
    return lines.with_columns(pl.Series("start", start), pl.Series("end", end))
