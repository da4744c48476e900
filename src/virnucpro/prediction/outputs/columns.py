"""The columns of every table: what they are called, hold and mean.

A new column is a line at the end of its table here, and a value in `tables`.
"""

from typing import Literal, NamedTuple

from virnucpro.classify import CALL_NAMES, ROLLUP_NAMES, TIER_NAMES
from virnucpro.sequences import DRAWN_NAMES

#: Goes up when a column is renamed, removed, moved, or holds or means something else. Columns
#: added at the end of a table, and further tables, leave it as it is.
TABLES_VERSION = 1


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: in the header.
        type: what every value is; a `share` is a number from 0 to 1.
        meaning: in words.
        can_be_empty: whether a value may not exist.
        words: all that a text can be, where it is one of a few.
        since: the version of virnucpro that wrote it first.
    """

    name: str
    type: Literal["text", "count", "number", "share"]
    meaning: str
    can_be_empty: bool = False
    words: tuple[str, ...] = ()
    since: str = "0.1.0"


_RECORD = Column("record", "text", "id of the record: its header's first word, escaped as \\x1b")
_CHUNK = Column("chunk", "count", "number of the chunk in the record, from 1")
_P_VIRUS = Column("p_virus", "share", "score; the more, the more like a virus", can_be_empty=True)
_MATE = Column("mate", "count", "1 or 2; empty of what is no pair", can_be_empty=True)
_CALL = Column("call", "text", "what it is taken for", words=CALL_NAMES)

#: File name -> its columns, in order.
TABLES: dict[str, tuple[Column, ...]] = {
    "records.tsv": (
        _RECORD,
        Column("length", "count", "bases of the record"),
        Column("chunks", "count", "chunks cut of it"),
        Column("open_frames", "count", "open frames over all chunks"),
        _P_VIRUS,
        _CALL,
        Column("tier", "text", "confidence of the call", can_be_empty=True, words=TIER_NAMES),
        Column("probability", "share", "that the record is a virus", can_be_empty=True),
        Column(
            "fdr",
            "share",
            "expected share of false viruses among it and all with a higher probability",
            can_be_empty=True,
        ),
        Column("weighted_delta", "number", "roll-up of its chunks, -1 to 1", can_be_empty=True),
        Column("viral_chunks", "share", "scored chunks that are viral", can_be_empty=True),
        Column("other_chunks", "share", "scored chunks that are not", can_be_empty=True),
        Column("ambiguous_chunks", "share", "scored chunks that are both", can_be_empty=True),
        Column("rollup", "text", "call of the roll-up", can_be_empty=True, words=ROLLUP_NAMES),
        Column("gc", "share", "G and C among all A, C, G and T", can_be_empty=True),
        Column("mates", "count", "2 of a pair, else 1"),
    ),
    "chunks.tsv": (
        _RECORD,
        _CHUNK,
        Column("start", "count", "first base of the chunk, from 0"),
        Column("end", "count", "base after its last"),
        Column("open_frames", "count", "open frames of the chunk"),
        Column("p_other", "share", "largest P(other) of its frames", can_be_empty=True),
        Column("p_virus", "share", "largest P(virus) of its frames", can_be_empty=True),
        _CALL,
        _MATE,
    ),
    "frames.tsv": (
        _RECORD,
        _CHUNK,
        Column("start", "count", "first base that the frame's codons cover, from 0"),
        Column("end", "count", "base after their last"),
        Column("frame", "text", "which of the six, or all", words=DRAWN_NAMES),
        Column("protein_length", "count", "residues; 0 of all"),
        Column("p_virus", "share", "P(virus) of the frame"),
        Column("call", "text", "what it is taken for", words=CALL_NAMES[:2]),
        _MATE,
    ),
}
