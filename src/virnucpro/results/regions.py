"""regions.gff3 and regions.bed: viral regions inside records (docs/contigs.md)."""

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from virnucpro.classify import ChunkScores, score_records
from virnucpro.classify.consensus import UNSCORED, Int64
from virnucpro.classify.segments import LEAST_CHUNKS, viral_segments
from virnucpro.engine.shards import Shard
from virnucpro.results.files import PartialFiles
from virnucpro.results.paths import Outputs

#: What may stand in a sequence's name in GFF3 beside letters and digits.
_PLAIN = ".:^*$@!+_?-|"
#: The Sequence Ontology's term for viral sequence in a host's.
_TERM = "proviral_region"


class Region(NamedTuple):
    """A viral region of a record.

    Attributes:
        record: id of the record.
        start: first base, 0-based.
        end: one past the last base.
        p_virus: what the roll-up says of a record of these chunks.
        chunks: scored chunks in it.
    """

    record: str
    start: int
    end: int
    p_virus: float
    chunks: int


class _Part(NamedTuple):
    """Scored chunks of a record: start and end of each, and their scores."""

    span_C2: Int64
    scores: ChunkScores


class RegionFiles:
    """Writes both files; holds the chunks of a record that goes on over several shards.

    Args:
        files: where they are opened.
        outputs: where they lie.
    """

    def __init__(self, files: PartialFiles, outputs: Outputs) -> None:
        self._gff3 = files.open(outputs.path("regions"))
        self._bed = files.open(outputs.path("regions_bed"))
        self._gff3.write(b"##gff-version 3\n")
        self._written = 0
        self._unfinished: list[_Part] = []

    def add(self, shard: Shard, scores: ChunkScores, ids: list[str]) -> None:
        """Append the regions of records that end in a shard, pairs apart; `ids` are its pieces'."""
        _, length, chunks, _, last_chunk, mate, *_ = shard.piece_P9.T
        for piece in np.flatnonzero((chunks >= LEAST_CHUNKS) & (mate == 0)).tolist():
            self._unfinished.append(_part(shard, scores, piece))
            if last_chunk[piece] == chunks[piece]:
                part = _joined(self._unfinished)
                self._unfinished.clear()
                self._write(list(regions_of(ids[piece], *part)), int(length[piece]))

    def _write(self, regions: list[Region], length: int) -> None:
        """Append the regions of a record of so many bases."""
        if regions:
            sequence = gff3_name(regions[0].record)
            self._gff3.write(f"##sequence-region {sequence} 1 {length}\n".encode())
        for region in regions:
            self._written += 1
            name = f"viral_region_{self._written}"
            self._gff3.write(gff3_line(region, name).encode())
            self._bed.write(bed_line(region, name).encode())


def _part(shard: Shard, scores: ChunkScores, piece: int) -> _Part:
    first, last = np.searchsorted(shard.chunk_C4[:, 0], [piece, piece + 1])
    scored = first + np.flatnonzero(scores.call[first:last] != UNSCORED)
    return _Part(shard.chunk_C4[scored, 2:], scores.taken(scored))


def _joined(parts: list[_Part]) -> _Part:
    spans, scores = zip(*parts, strict=True)
    return _Part(np.concatenate(spans), ChunkScores.joined(scores))


def regions_of(record: str, span_C2: Int64, scores: ChunkScores) -> Iterator[Region]:
    """Find the viral regions of a record; one that takes in all of it is none.

    Args:
        record: its id.
        span_C2: start and end of each scored chunk.
        scores: of the same chunks.
    """
    segments = viral_segments(scores.balance)
    for start, end in segments:
        if end - start == len(span_C2):
            return
        inside = scores.taken(slice(start, end))
        rolled_up = score_records(np.zeros(end - start, np.int64), inside, 1, 0.5)
        yield Region(
            record,
            int(span_C2[start, 0]),
            int(span_C2[end - 1, 1]),
            float(rolled_up.p_virus[0]),
            end - start,
        )


def gff3_name(record: str) -> str:
    """Return a record's id with every character escaped that GFF3 keeps for itself."""
    return quote(record, safe=_PLAIN).replace("~", "%7E")


def gff3_line(region: Region, name: str) -> str:
    """Return a region as a feature of GFF3: 1-based, both ends in it."""
    attributes = f"ID={name};Name={name};p_virus={region.p_virus:.6f};chunks={region.chunks}"
    columns = (
        gff3_name(region.record), "virnucpro", _TERM, region.start + 1, region.end,
        f"{region.p_virus:.6f}", ".", ".", attributes,
    )  # fmt: skip
    return "\t".join(map(str, columns)) + "\n"


def bed_line(region: Region, name: str) -> str:
    """Return a region as BED of six columns: 0-based, the end not in it; scores up to 1000."""
    score = round(1000 * region.p_virus)
    return f"{region.record}\t{region.start}\t{region.end}\t{name}\t{score}\t.\n"
