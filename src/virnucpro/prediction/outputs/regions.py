"""regions.gff3 and regions.bed: viral regions inside records (docs/contigs.md)."""

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from virnucpro.bundles.manifest import Calibration
from virnucpro.classify import ChunkScores, score_records
from virnucpro.classify.consensus import UNSCORED, Float64, Int64
from virnucpro.classify.probability import at_prevalence, line_numbers, probabilities
from virnucpro.classify.segments import LEAST_CHUNKS, mean_score, viral_segments
from virnucpro.prediction.outputs.names import bed_name
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.shard import Shard
from virnucpro.runs.partial_files import PartialFiles

#: What may stand in a sequence's name in GFF3 beside letters and digits.
_PLAIN = ".:^*$@!+_?-|"
#: The Sequence Ontology's term for viral sequence in a host's.
_TERM = "proviral_region"


class Region(NamedTuple):
    """A viral region of a record.

    Attributes:
        record: name of the record.
        start: first base, 0-based.
        end: one past the last base.
        p_virus: what the roll-up says of a record of these chunks.
        chunks: scored chunks in it.
        chance: that a chunk of it, as a record of its own, is viral where one in two is; above 0.5.
            None without a calibration.
    """

    record: str
    start: int
    end: int
    p_virus: float
    chunks: int
    chance: float | None = None

    @property
    def score(self) -> float:
        """Its chance, which made it a region; without a calibration `p_virus`."""
        return self.p_virus if self.chance is None else self.chance


class _Part(NamedTuple):
    """Scored chunks of a record: start and end of each, and their scores."""

    span_C2: Int64
    scores: ChunkScores


class RegionFiles:
    """Writes both files; holds the chunks of a record that goes on over several shards.

    Args:
        files: where they are opened.
        outputs: where they lie.
        calibration: of the bundle, where it has one.
    """

    def __init__(
        self, files: PartialFiles, outputs: Outputs, calibration: Calibration | None = None
    ) -> None:
        self._calibration = calibration
        self._gff3 = files.open(outputs.path("regions"))
        self._bed = files.open(outputs.path("regions_bed"))
        self._gff3.write(b"##gff-version 3\n")
        self._written = 0
        self._unfinished: list[_Part] = []

    def add(self, shard: Shard, scores: ChunkScores, names: list[str]) -> None:
        """Append the regions of records that end in a shard, pairs apart.

        Args:
            shard: comes next.
            scores: of its chunks.
            names: of its pieces, which differ where records do.
        """
        number, length, chunks, _, last_chunk, mate, *_ = shard.piece_P9.T
        for piece in np.flatnonzero((chunks >= LEAST_CHUNKS) & (mate == 0)).tolist():
            self._unfinished.append(_part(shard, scores, piece))
            if last_chunk[piece] == chunks[piece]:
                part = _joined(self._unfinished)
                self._unfinished.clear()
                found = regions_of(names[piece], *part, self._calibration)
                self._write(list(found), int(number[piece]) + 1, int(length[piece]))

    def _write(self, regions: list[Region], record: int, length: int) -> None:
        """Append the regions of a record, with its number from 1 and its bases."""
        if regions:
            sequence = gff3_name(regions[0].record)
            self._gff3.write(f"##sequence-region {sequence} 1 {length}\n".encode())
        for region in regions:
            self._written += 1
            name = region_name(self._written, record)
            self._gff3.write(gff3_line(region, name).encode())
            self._bed.write(bed_line(region, name).encode())


def _part(shard: Shard, scores: ChunkScores, piece: int) -> _Part:
    first, last = np.searchsorted(shard.chunk_C4[:, 0], [piece, piece + 1])
    scored = first + np.flatnonzero(scores.call[first:last] != UNSCORED)
    return _Part(shard.chunk_C4[scored, 2:], scores.taken(scored))


def _joined(parts: list[_Part]) -> _Part:
    spans, scores = zip(*parts, strict=True)
    return _Part(np.concatenate(spans), ChunkScores.joined(scores))


def regions_of(
    record: str, span_C2: Int64, scores: ChunkScores, calibration: Calibration | None = None
) -> Iterator[Region]:
    """Find the viral regions of a record; one that takes in all of it is none.

    Args:
        record: its name.
        span_C2: start and end of each scored chunk.
        scores: of the same chunks.
        calibration: says what a chunk's score means; without one its score is taken for it.
    """
    chances = scores.balance
    if calibration is not None:
        chances = _chances(chances, span_C2, calibration)
    segments = viral_segments(chances)
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
            None if calibration is None else mean_score(chances[start:end]),
        )


def _chances(scores_C: Float64, span_C2: Int64, calibration: Calibration) -> Float64:
    """Return the chance that each chunk, as a record of its own, is viral where one in two is."""
    line = line_numbers(calibration, np.ones(len(scores_C), np.int64), np.diff(span_C2)[:, 0])
    return at_prevalence(probabilities(calibration, line, scores_C), calibration.prevalence, 0.5)


def region_name(number: int, record: int) -> str:
    """Return what region `number` is called; `record` is its record's line in records.tsv."""
    return f"viral_region_{number}_of_record_{record}"


def gff3_name(record: str) -> str:
    """Return a record's name with every character escaped that GFF3 keeps for itself."""
    return quote(record, safe=_PLAIN).replace("~", "%7E")


def gff3_line(region: Region, name: str) -> str:
    """Return a region as a feature of GFF3: 1-based, both ends in it."""
    attributes = f"ID={name};Name={name};p_virus={region.p_virus:.6f};chunks={region.chunks}"
    if region.chance is not None:
        attributes += f";chance={region.chance:.6f}"
    columns = (
        gff3_name(region.record), "virnucpro", _TERM, region.start + 1, region.end,
        f"{region.score:.6f}", ".", ".", attributes,
    )  # fmt: skip
    return "\t".join(map(str, columns)) + "\n"


def bed_line(region: Region, name: str) -> str:
    """Return a region as BED of six columns: 0-based, the end not in it; scores up to 1000."""
    score = round(1000 * region.score)
    return f"{bed_name(region.record)}\t{region.start}\t{region.end}\t{name}\t{score}\t.\n"
