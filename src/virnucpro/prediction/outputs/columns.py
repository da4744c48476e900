"""The columns of every table: name, type, meaning and value.

A new column is a line at the end of its table here, and one in docs/outputs.md.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES, ROLLUP_NAMES, TIER_NAMES, frame_calls
from virnucpro.classify.consensus import UNSCORED, Int64
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.sequences import DRAWN_NAMES

#: Increases when a column is renamed, removed or moved, or when its values or their meaning change.
#: It stays the same when columns are added at the end of a table, and when tables are added.
TABLES_VERSION = 1

Values: TypeAlias = pl.Series | NDArray[Any]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: name in the header.
        type: type of all values; a `share` is a number from 0 to 1.
        meaning: description of the values.
        value: returns the values for the rows that a shard adds to the table.
        can_be_empty: whether a value may be missing.
        words: the possible values of a text, if there are only a few.
        since: the version of virnucpro that first wrote the column.
    """

    name: str
    type: Literal["text", "count", "number", "share"]
    meaning: str
    value: Callable[[ScoredShard], Values]
    can_be_empty: bool = False
    words: tuple[str, ...] = ()
    since: str = "0.1.0"


def rows_of(part: ScoredShard, columns: Sequence[Column]) -> pl.DataFrame:
    """Return the rows that a shard adds to a table, with these columns."""
    return pl.DataFrame({column.name: column.value(part) for column in columns})


def words_of(codes: NDArray[np.uint8], vocabulary: tuple[str, ...]) -> pl.Series:
    """Return the word for each code."""
    return pl.Series(vocabulary).gather(codes.astype(np.uint32))


def _of_scored(
    part: ScoredShard, codes: NDArray[np.uint8], vocabulary: tuple[str, ...]
) -> pl.Series:
    """Return the word for the code of each record; none for records without a score."""
    words = pl.Series([*vocabulary, None], dtype=pl.String)
    is_scored = part.records.scores.call != UNSCORED
    return words.gather(np.where(is_scored, codes, len(vocabulary)).astype(np.uint32))


def _number(values: NDArray[np.floating]) -> pl.Series:
    """Return numbers with NaN as missing values."""
    return pl.Series(values=values.astype(np.float64), nan_to_null=True)


def _pieces_of_chunks(part: ScoredShard) -> Int64:
    """Return the index of the piece of each chunk."""
    return part.shard.chunk_C4[:, 0]


def _chunks_of_frames(part: ScoredShard) -> Int64:
    """Return the row of `chunk_C4` of each frame."""
    return part.shard.chunk_C4[part.shard.frame_S5[:, 0]]


def _ids(part: ScoredShard, piece: Int64) -> pl.Series:
    """Return the id of the record of each row."""
    return pl.Series(part.ids, dtype=pl.String).gather(piece)


def _mates(part: ScoredShard, piece: Int64) -> pl.Series:
    """Return the mate of each row; none if the record is not a pair."""
    return pl.Series([None, 1, 2], dtype=pl.Int64).gather(part.shard.piece_P9[piece, 5])


_RECORD = "id of the record: the first word of its header, with characters escaped as \\x1b"
_CHUNK = "number of the chunk in the record, from 1"
_MATE = "1 or 2; empty if the record is not a pair"

#: File name -> its columns, in order.
TABLES: dict[str, tuple[Column, ...]] = {
    "records.tsv": (
        Column("record", "text", _RECORD, lambda p: p.records.ids),
        Column("length", "count", "bases of the record", lambda p: p.records.lengths),
        Column("chunks", "count", "number of chunks of the record", lambda p: p.records.chunks),
        Column("open_frames", "count", "open frames in all chunks", lambda p: p.records.frames),
        Column(
            "p_virus",
            "share",
            "score of the record; higher means more like a virus",
            lambda p: _number(p.records.scores.p_virus),
            can_be_empty=True,
        ),
        Column(
            "call",
            "text",
            "call of the record",
            lambda p: words_of(p.records.scores.call, CALL_NAMES),
            words=CALL_NAMES,
        ),
        Column(
            "tier",
            "text",
            "confidence of the call",
            lambda p: _of_scored(p, p.records.scores.tier, TIER_NAMES),
            can_be_empty=True,
            words=TIER_NAMES,
        ),
        Column(
            "probability",
            "share",
            "probability that the record is a virus",
            lambda p: _number(p.records.probability),
            can_be_empty=True,
        ),
        Column(
            "fdr",
            "share",
            "expected share of false viruses among the record and all with a higher probability",
            lambda p: _number(p.records.fdr),
            can_be_empty=True,
        ),
        Column(
            "weighted_delta",
            "number",
            "roll-up of the chunks, -1 to 1",
            lambda p: _number(np.round(p.records.scores.weighted_delta, 6) + 0.0),  # no -0.0
            can_be_empty=True,
        ),
        Column(
            "viral_chunks",
            "share",
            "share of scored chunks that are confidently viral",
            lambda p: _number(p.records.scores.viral_chunks),
            can_be_empty=True,
        ),
        Column(
            "other_chunks",
            "share",
            "share of scored chunks that are confidently not viral",
            lambda p: _number(p.records.scores.other_chunks),
            can_be_empty=True,
        ),
        Column(
            "ambiguous_chunks",
            "share",
            "share of scored chunks whose two scores are both high",
            lambda p: _number(p.records.scores.ambiguous_chunks),
            can_be_empty=True,
        ),
        Column(
            "rollup",
            "text",
            "call of the roll-up",
            lambda p: _of_scored(p, p.records.scores.rollup, ROLLUP_NAMES),
            can_be_empty=True,
            words=ROLLUP_NAMES,
        ),
        Column(
            "gc",
            "share",
            "share of G and C among all A, C, G and T",
            lambda p: _number(p.records.gc),
            can_be_empty=True,
        ),
        Column("mates", "count", "2 for a pair, otherwise 1", lambda p: p.records.mates),
    ),
    "chunks.tsv": (
        Column("record", "text", _RECORD, lambda p: _ids(p, _pieces_of_chunks(p))),
        Column("chunk", "count", _CHUNK, lambda p: p.shard.chunk_C4[:, 1]),
        Column("start", "count", "first base, from 0", lambda p: p.shard.chunk_C4[:, 2]),
        Column("end", "count", "one past the last base", lambda p: p.shard.chunk_C4[:, 3]),
        Column("open_frames", "count", "open frames", lambda p: p.chunk_scores.frames),
        Column(
            "p_other",
            "share",
            "largest P(other) of its frames",
            lambda p: _number(p.chunk_scores.p_other),
            can_be_empty=True,
        ),
        Column(
            "p_virus",
            "share",
            "largest P(virus) of its frames",
            lambda p: _number(p.chunk_scores.p_virus),
            can_be_empty=True,
        ),
        Column(
            "call",
            "text",
            "call of the chunk",
            lambda p: words_of(p.chunk_scores.call, CALL_NAMES),
            words=CALL_NAMES,
        ),
        Column(
            "mate",
            "count",
            _MATE,
            lambda p: _mates(p, _pieces_of_chunks(p)),
            can_be_empty=True,
        ),
    ),
    "frames.tsv": (
        Column("record", "text", _RECORD, lambda p: _ids(p, _chunks_of_frames(p)[:, 0])),
        Column("chunk", "count", _CHUNK, lambda p: _chunks_of_frames(p)[:, 1]),
        Column("start", "count", "first base of its codons, from 0", lambda p: p.frame_spans[0]),
        Column("end", "count", "one past the last base of its codons", lambda p: p.frame_spans[1]),
        Column(
            "frame",
            "text",
            "one of the six reading frames, or all",
            lambda p: words_of(p.shard.frame_S5[:, 1].astype(np.uint8), DRAWN_NAMES),
            words=DRAWN_NAMES,
        ),
        Column(
            "protein_length",
            "count",
            "residues of the protein; 0 for all frames together",
            lambda p: p.shard.frame_S5[:, 2],
        ),
        Column(
            "p_virus", "share", "P(virus) of the frame", lambda p: _number(p.shard.scores_S2[:, 1])
        ),
        Column(
            "call",
            "text",
            "call of the frame",
            lambda p: words_of(frame_calls(p.shard.scores_S2), CALL_NAMES),
            words=CALL_NAMES[:2],
        ),
        Column(
            "mate",
            "count",
            _MATE,
            lambda p: _mates(p, _chunks_of_frames(p)[:, 0]),
            can_be_empty=True,
        ),
    ),
}
