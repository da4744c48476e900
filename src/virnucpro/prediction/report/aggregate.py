"""What the report shows of a run's tables: one pass over records and chunks, two over regions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES
from virnucpro.classify.segments import LEAST_CHUNKS
from virnucpro.errors import RunError, reading, shortened
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.report.listed import TIERS, Point, Region, Spans, Viral
from virnucpro.prediction.report.reading import TO_DO, Types, batches

#: Bins of p_virus from 0 to 1, and of the share of G and C.
SCORE_BINS, GC_BINS = 50, 25
#: Bins of length: so many for each doubling, from one base on.
OCTAVE_BINS, _OCTAVES = 8, 40
#: Records below so many bases are counted: what their scores mean is little.
SHORT = 100
#: Viral records listed, and as many regions; most points of a record's track, where further chunks
#: are averaged, and most regions on it, where further ones are not shaded.
LISTED, POINTS = 250, 300

#: Letters of an id that the page shows.
_LONGEST_ID = 300

Int64 = NDArray[np.int64]

_RECORD: Types = {
    "record": pl.String, "length": pl.Int64, "chunks": pl.Int64, "p_virus": pl.Float64,
    "call": pl.String, "tier": pl.String,
}  # fmt: skip
_OPTIONAL: Types = {"probability": pl.Float64, "fdr": pl.Float64, "gc": pl.Float64}
_CHUNK: Types = {"record": pl.String, "start": pl.Int64, "end": pl.Int64, "p_virus": pl.Float64}
#: What regions.bed holds; it has no header line.
_BED = ("record", "start", "end", "name", "score", "strand")
_REGION: Types = {"name": pl.String, "start": pl.Int64, "end": pl.Int64, "score": pl.Int64}
#: How the name of a region ends: with the number of its record, from 1.
_NUMBER = r"_of_record_([1-9][0-9]{0,17})$"

Row = dict[str, Any]


@dataclass
class Found:
    """What a run's tables hold, in numbers that do not grow with them.

    Attributes:
        scores_CB: scored records by call and bin of p_virus.
        lengths_LB: scored records by bin of length and of p_virus.
        gc_GB: scored records by bin of GC and of p_virus; empty where no GC is known.
        shortest: bases; 0 without records.
        longest: bases.
        short: scored records below `SHORT` bases.
        false_share: expected share of false viruses among those called; None where unknown.
        viral: the most confident records called virus, the first first.
        long: records of enough chunks to be searched for regions.
        region_count: viral regions inside records; None where the run did not look for any.
        region_bases: bases in them.
        regions: the most confident of them, the first first.
    """

    scores_CB: Int64 = field(default_factory=lambda: _zeros(len(CALL_NAMES)))
    lengths_LB: Int64 = field(default_factory=lambda: _zeros(OCTAVE_BINS * _OCTAVES))
    gc_GB: Int64 = field(default_factory=lambda: _zeros(GC_BINS))
    shortest: int = 0
    longest: int = 0
    short: int = 0
    false_share: float | None = None
    viral: list[Viral] = field(default_factory=list)
    long: int = 0
    region_count: int | None = None
    region_bases: int = 0
    regions: list[Region] = field(default_factory=list)

    def count(self, rows: pl.DataFrame) -> None:
        """Add some records."""
        lengths = rows["length"].to_numpy()
        if len(lengths):
            self.shortest = min(self.shortest or int(lengths.min()), int(lengths.min()))
            self.longest = max(self.longest, int(lengths.max()))
        self.long += int((rows["chunks"] >= LEAST_CHUNKS).sum())
        scored = rows.filter(pl.col("p_virus").is_not_null())
        self.short += int((scored["length"] < SHORT).sum())
        score = _bins(scored["p_virus"], SCORE_BINS)
        calls = scored["call"].replace_strict(_CALLS, return_dtype=pl.Int64).to_numpy()
        _add(self.scores_CB, calls, score)
        octave = np.log2(np.maximum(scored["length"].to_numpy(), 1))
        place = np.minimum((octave * OCTAVE_BINS).astype(np.int64), len(self.lengths_LB) - 1)
        _add(self.lengths_LB, place, score)
        if "gc" in scored.columns:
            known = scored["gc"].is_not_null().to_numpy()
            _add(self.gc_GB, _bins(scored["gc"].drop_nulls(), GC_BINS), score[known])


_CALLS = {name: code for code, name in enumerate(CALL_NAMES)}


def _zeros(rows: int) -> Int64:
    return np.zeros((rows, SCORE_BINS), np.int64)


def _bins(values: pl.Series, count: int) -> Int64:
    """Return in which of `count` bins values from 0 to 1 lie."""
    return np.clip((values.to_numpy() * count + 1e-9).astype(np.int64), 0, count - 1)


def _add(table: Int64, row: Int64, column: Int64) -> None:
    table += np.bincount(row * table.shape[1] + column, minlength=table.size).reshape(table.shape)


def aggregate(outputs: Outputs) -> Found:
    """Read the tables of a finished run.

    Raises:
        RunError: when one is missing or damaged.
    """
    found = Found()
    regions = _count_regions(outputs, found)
    with reading(outputs.path("records"), TO_DO, RunError):  # a word that no call or tier is
        viral, hosts = _count(outputs, found, {region["number"] for region in regions})
    chunks = _chunks_of(outputs, [*viral, *hosts.values()])
    tracks = {first: _points(rows) for first, rows in chunks.items()}
    spans = _spans(outputs, [*hosts.values(), *viral])
    names = [name for name in Viral._fields if name not in ("track", "regions")]
    found.viral = [
        msgspec.convert(
            [*map(_shown(row).get, names), tracks.get(_place(row), ()), spans.get(_place(row), ())],
            Viral,
        )
        for row in viral
    ]
    for region in regions:
        host = hosts.get(region["number"])
        if host is None or _place(host) not in chunks:
            raise RunError(
                f"{outputs.path('regions_bed')}: has {region['name']}, of which the tables have no "
                f"chunks; {TO_DO}"
            )
        first, start, end = _place(host), region["start"], region["end"]
        scored = chunks[first].filter(
            (pl.col("start") >= start) & (pl.col("end") <= end) & pl.col("p_virus").is_not_null()
        )
        score = region["score"] / 1000
        found.regions.append(
            Region(
                _shown(host)["record"], host["call"], start, end, score, len(scored), tracks[first],
                spans[first],
            )
        )  # fmt: skip
    return found


def _regions(outputs: Outputs) -> Iterator[pl.DataFrame]:
    """Yield the rows of regions.bed; none of runs that have no such file."""
    path = outputs.path("regions_bed")
    for lines in batches(path, _REGION, header=_BED) if path.is_file() else ():
        number = pl.col("name").str.extract(_NUMBER).cast(pl.Int64)
        rows = lines.select(*_REGION, number.alias("number"))
        if any(rows.null_count().row(0)):
            raise RunError(
                f"{path}: cannot be read (a line lacks a field or the number of a record); {TO_DO}"
            )
        yield rows


def _count_regions(outputs: Outputs, found: Found) -> list[Row]:
    """Count all regions; return the most confident ones, of equals those that come first."""
    if outputs.path("regions_bed").is_file():
        found.region_count = 0
    best = pl.DataFrame(schema={**_REGION, "number": pl.Int64})
    for rows in _regions(outputs):
        length = pl.col("end") - pl.col("start")
        found.region_count = (found.region_count or 0) + len(rows)
        found.region_bases += int(rows.select(length.sum()).item())
        order = [pl.col("score"), length]
        best = pl.concat([best, rows]).sort(order, descending=True, maintain_order=True)
        best = best.head(LISTED)
    return best.to_dicts()


def _count(outputs: Outputs, found: Found, wanted: set[int]) -> tuple[list[Row], dict[int, Row]]:
    """Count all records; return the most confident viral ones, and those with listed regions.

    Args:
        outputs: of the run.
        found: counts go here.
        wanted: numbers, from 1, of the records with listed regions.

    Returns:
        two lists, the second by number, both with that `number` and with the number of chunks
        before each as `first`.
    """
    best, offset, seen, hosts = pl.DataFrame(), 0, 0, dict[int, Row]()
    for rows in batches(outputs.path("records"), _RECORD, _OPTIONAL):
        found.count(rows)
        chunks = rows["chunks"]
        placed = rows.with_columns(
            (chunks.cum_sum() - chunks + offset).alias("first"),
            pl.int_range(seen + 1, seen + len(rows) + 1).alias("number"),
        )
        offset, seen = offset + int(chunks.sum()), seen + len(rows)
        with_regions = placed.filter(pl.col("number").is_in(wanted))
        hosts |= {row["number"]: row for row in with_regions.iter_rows(named=True)}
        viral = placed.filter(pl.col("call") == "virus")
        if "fdr" in viral.columns and viral["fdr"].count():
            found.false_share = max(found.false_share or 0.0, *viral["fdr"].drop_nulls())
        best = _most_confident(pl.concat([best, viral]) if len(best) else viral)
    return best.to_dicts(), hosts


def _shown(row: Row) -> Row:
    """Return a record as the page shows it."""
    return row | {"record": shortened(row["record"], _LONGEST_ID)}


def _place(row: Row) -> int:
    """Return the number of chunks before a record, by which those with chunks are told apart.

    A record without chunks has the place of the next; it has no track either.
    """
    return int(row["first"]) if row["chunks"] > 1 else -1


def _most_confident(viral: pl.DataFrame) -> pl.DataFrame:
    """Return the first records by `Viral.confidence`; of equals those that come first."""
    keys = [pl.col("tier").replace_strict(TIERS, return_dtype=pl.Int64), "p_virus", "length"]
    if "probability" in viral.columns:
        keys.insert(0, pl.col("probability").fill_null(0.0))
    return viral.sort(keys, descending=True, maintain_order=True).head(LISTED)


def _chunks_of(outputs: Outputs, listed: Sequence[Row]) -> dict[int, pl.DataFrame]:
    """Return the chunks of the listed records of several, by place.

    Rows of chunks.tsv are in the order of records.tsv, so that a record's place is the number of
    chunks before it, whatever its id.

    Raises:
        RunError: when rows are missing, or those that should be a record's have another id.
    """
    ends = {_place(row): row["first"] + row["chunks"] for row in listed if row["chunks"] > 1}
    ids = {_place(row): row["record"] for row in listed}
    parts: dict[int, list[pl.DataFrame]] = {first: [] for first in ends}
    begin, path = 0, outputs.path("chunks")
    for rows in batches(path, _CHUNK) if ends else ():
        end = begin + len(rows)
        for first, last in ends.items():
            low, high = max(first, begin), min(last, end)
            if low < high:
                parts[first].append(rows.slice(low - begin, high - low))
        begin = end
        if begin >= max(ends.values()):
            break
    chunks = {first: pl.concat(rows) for first, rows in parts.items() if rows}
    for first, last in ends.items():
        rows = chunks.get(first, pl.DataFrame(schema=_CHUNK))
        if len(rows) != last - first or (rows["record"] != ids[first]).any():
            raise RunError(f"{path}: has not the chunks of {ids[first]} in their place; {TO_DO}")
    return chunks


def _spans(outputs: Outputs, listed: Sequence[Row]) -> dict[int, Spans]:
    """Return the regions of records, by place."""
    places = {row["number"]: _place(row) for row in listed if row["chunks"] >= LEAST_CHUNKS}
    spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for rows in _regions(outputs) if places else ():
        of_listed = rows.filter(pl.col("number").is_in(places.keys()))
        for number, start, end in of_listed.select("number", "start", "end").iter_rows():
            if len(spans[places[number]]) < POINTS:
                spans[places[number]].append((start, end))
    return {place: tuple(regions) for place, regions in spans.items()}


def _points(chunks: pl.DataFrame) -> tuple[Point, ...]:
    """Return a track of at most `POINTS` points; p_virus with 3 decimals."""
    each = -(-len(chunks) // POINTS)
    joined = (
        chunks.with_columns(pl.int_range(pl.len()).floordiv(each).alias("point"))
        .group_by("point", maintain_order=True)
        .agg(pl.col("start").first(), pl.col("end").last(), pl.col("p_virus").mean().round(3))
    )
    return tuple(Point(*row) for row in joined.select("start", "end", "p_virus").iter_rows())
