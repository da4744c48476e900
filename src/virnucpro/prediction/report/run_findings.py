"""What the report shows of a run, in numbers and lists that do not grow with the run."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES, TIER_NAMES
from virnucpro.classify.segments import LEAST_CHUNKS
from virnucpro.errors import shortened
from virnucpro.prediction.outputs.columns import TABLES
from virnucpro.prediction.outputs.scored_shards import ScoredShard

#: Number of bins of p_virus from 0 to 1, and of the share of G and C.
SCORE_BINS, GC_BINS = 50, 25
#: Number of bins of length for each doubling, starting at one base.
OCTAVE_BINS, _OCTAVES = 8, 40
#: Records with fewer bases are counted, because their scores mean little.
SHORT = 100
#: Number of viral records listed, and of viral regions.
LISTED = 250
#: Largest number of points of a record's track, beyond which chunks are averaged, and of regions
#: shaded on it.
POINTS = 300

#: The merge passes rows of so many chunks at once, which takes less time than a shard at a time.
_CHUNKS_AT_ONCE = 1 << 15
#: Longest id on the page, in letters.
_LONGEST_ID = 300
_CALLS = {name: code for code, name in enumerate(CALL_NAMES)}
#: Tier -> its rank by confidence.
_TIERS = {name: rank for rank, name in enumerate(TIER_NAMES)}

Int64 = NDArray[np.int64]
Types: TypeAlias = Mapping[str, type[pl.DataType]]
#: Start and end of the regions of a record, 0-based, end excluded.
Spans: TypeAlias = tuple[tuple[int, int], ...]

#: The columns that `Findings.add_rows` needs.
RECORD_COLUMNS: Types = {
    "record": pl.String, "length": pl.Int64, "chunks": pl.Int64, "p_virus": pl.Float64,
    "call": pl.String, "tier": pl.String, "probability": pl.Float64, "fdr": pl.Float64,
    "gc": pl.Float64,
}  # fmt: skip
CHUNK_COLUMNS: Types = {
    "record": pl.String, "start": pl.Int64, "end": pl.Int64, "p_virus": pl.Float64,
}  # fmt: skip
REGION_COLUMNS: Types = {
    "number": pl.Int64, "start": pl.Int64, "end": pl.Int64, "score": pl.Int64,
}  # fmt: skip


class Point(NamedTuple):
    """A stretch of a track.

    Attributes:
        start: first base.
        end: one past the last base.
        p_virus: score of the chunk, or mean of several; None if none has a score.
    """

    start: int
    end: int
    p_virus: float | None


class ListedRecord(NamedTuple):
    """A record called virus.

    Attributes:
        record: id of the record.
        length: number of bases.
        chunks: number of chunks.
        p_virus: score.
        tier: confidence.
        probability: probability of a virus; None without a calibration.
        fdr: false discovery rate; None without a calibration.
        gc: share of G and C; None if the table does not say it.
        track: scores along the record; empty for one chunk.
        regions: viral regions inside it.
    """

    record: str
    length: int
    chunks: int
    p_virus: float
    tier: str
    probability: float | None
    fdr: float | None
    gc: float | None
    track: tuple[Point, ...] = ()
    regions: Spans = ()

    @property
    def confidence(self) -> tuple[float, int, float, int]:
        """Key of the order of records: probability, else tier and p_virus; then length."""
        return self.probability or 0.0, _TIERS[self.tier], self.p_virus, self.length


class ListedRegion(NamedTuple):
    """A viral region inside a record.

    Attributes:
        record: id of the record.
        call: call of the record.
        start: first base, 0-based.
        end: one past the last base.
        p_virus: score of the region, rounded to thousandths.
        chunks: number of its scored chunks.
        track: scores along the record.
        regions: all viral regions inside the record, including this one.
    """

    record: str
    call: str
    start: int
    end: int
    p_virus: float
    chunks: int
    track: tuple[Point, ...]
    regions: Spans

    @property
    def length(self) -> int:
        """Bases of the region."""
        return self.end - self.start

    @property
    def confidence(self) -> tuple[float, int]:
        """Key of the order of regions: score, then length."""
        return self.p_virus, self.length


class Findings:
    """What the report shows of a run.

    The merge fills it as one of its sinks; `finished_runs.read_findings` fills it from the tables
    of a finished run. Both pass the same rows in the same order, so the results are the same.

    Attributes:
        scores_CB: number of scored records by call and bin of p_virus.
        lengths_LB: number of scored records by bin of length and of p_virus.
        gc_GB: number of scored records with a known GC by bin of GC and of p_virus.
        shortest: bases of the shortest record; 0 without records.
        longest: bases of the longest record.
        short: number of scored records with fewer than `SHORT` bases.
        false_share: expected share of false viruses among the records called virus; None if
            unknown.
        viral: the most confident records called virus, in order.
        long: number of records with enough chunks for a search for regions.
        region_count: number of viral regions inside records; None if the run did not look for any.
        region_bases: bases in them.
        regions: the most confident regions, in order.
        is_complete: whether the merge has passed all shards.
    """

    def __init__(self) -> None:
        self.scores_CB, self.lengths_LB, self.gc_GB = (
            np.zeros((rows, SCORE_BINS), np.int64)
            for rows in (len(CALL_NAMES), OCTAVE_BINS * _OCTAVES, GC_BINS)
        )
        self.shortest = self.longest = self.short = 0
        self.false_share: float | None = None
        self.viral: list[ListedRecord] = []
        self.long = 0
        self.region_count: int | None = 0
        self.region_bases = 0
        self.regions: list[ListedRegion] = []
        self.is_complete = False
        self._records = 0
        self._chunks = pl.DataFrame(schema=CHUNK_COLUMNS)  # of a record that is not finished
        self._waiting: list[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]] = []

    def add(self, part: ScoredShard) -> None:
        """Take the next shard of the merge."""
        regions = [
            (found.number, region.start, region.end, region.thousandths)
            for found in part.regions
            for region in found.regions
        ]
        rows = (
            _rows_as_printed("records.tsv", part, RECORD_COLUMNS),
            _rows_as_printed("chunks.tsv", part, CHUNK_COLUMNS),
            pl.DataFrame(regions, schema=REGION_COLUMNS, orient="row"),
        )
        self._waiting.append(rows)
        if sum(len(chunks) for _, chunks, _ in self._waiting) >= _CHUNKS_AT_ONCE:
            self._add_waiting()

    def finish(self) -> None:
        """Take the last rows."""
        self._add_waiting()
        self.is_complete = True

    def _add_waiting(self) -> None:
        if self._waiting:
            self.add_rows(*map(pl.concat, zip(*self._waiting, strict=True)))
            self._waiting.clear()

    def add_rows(self, records: pl.DataFrame, chunks: pl.DataFrame, regions: pl.DataFrame) -> None:
        """Take the next rows of the tables.

        Args:
            records: rows of records.tsv, with `RECORD_COLUMNS`.
            chunks: rows of chunks.tsv, with `CHUNK_COLUMNS`: up to the last chunk of these records,
                or further.
            regions: the regions of these records, with `REGION_COLUMNS`; `number` is the number of
                the record in the run, from 1, and `score` is in thousandths.
        """
        held = pl.concat([self._chunks, chunks])
        ends = records["chunks"].cum_sum().to_list()
        rows_of_regions = regions.with_columns(pl.col("number") - self._records - 1).rows()

        @cache
        def own_chunks(row: int) -> pl.DataFrame:
            count = records["chunks"][row]
            return held.slice(ends[row] - count, count)

        @cache
        def drawn(row: int) -> tuple[tuple[Point, ...], Spans]:
            spans = [(start, end) for of, start, end, _ in rows_of_regions if of == row]
            several = records["chunks"][row] > 1
            return (_track(own_chunks(row)) if several else ()), tuple(spans[:POINTS])

        self._count(records)
        self._list_viral(records, drawn)
        self._list_regions(records, rows_of_regions, own_chunks, drawn)
        self._records += len(records)
        self._chunks = held.slice(ends[-1] if ends else 0)

    def _count(self, rows: pl.DataFrame) -> None:
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
        known = scored["gc"].is_not_null().to_numpy()
        _add(self.gc_GB, _bins(scored["gc"].drop_nulls(), GC_BINS), score[known])

    def _list_viral(
        self,
        records: pl.DataFrame,
        drawn: Callable[[int], tuple[tuple[Point, ...], Spans]],
    ) -> None:
        """List the most confident viral records; of equal ones, those that come first."""
        viral = records.with_row_index("row").filter(pl.col("call") == "virus")
        if viral["fdr"].count():
            self.false_share = max(self.false_share or 0.0, *viral["fdr"].drop_nulls())
        keys = [
            pl.col("probability").fill_null(0.0),
            pl.col("tier").replace_strict(_TIERS, return_dtype=pl.Int64),
            "p_virus",
            "length",
        ]
        best = viral.sort(keys, descending=True, maintain_order=True).head(LISTED)
        found: list[ListedRecord] = []
        names = ListedRecord._fields[: -len(ListedRecord._field_defaults)]
        for values in best.iter_rows(named=True):
            listed = ListedRecord(**{name: values[name] for name in names})
            if _is_full(self.viral, listed):
                break
            track, spans = drawn(values["row"])
            name = shortened(listed.record, _LONGEST_ID)
            found.append(listed._replace(record=name, track=track, regions=spans))
        self.viral += found
        self.viral.sort(key=lambda listed: listed.confidence, reverse=True)
        del self.viral[LISTED:]

    def _list_regions(
        self,
        records: pl.DataFrame,
        regions: list[tuple[int, int, int, int]],
        own_chunks: Callable[[int], pl.DataFrame],
        drawn: Callable[[int], tuple[tuple[Point, ...], Spans]],
    ) -> None:
        """Count regions and list the most confident; of equal ones, those that come first."""
        for row, start, end, score in regions:
            self.region_count = (self.region_count or 0) + 1
            self.region_bases += end - start
            call, name = records["call"][row], shortened(records["record"][row], _LONGEST_ID)
            listed = ListedRegion(name, call, start, end, score / 1000, 0, (), ())
            if _is_full(self.regions, listed):
                continue
            scored = own_chunks(row).filter(
                (pl.col("start") >= start)
                & (pl.col("end") <= end)
                & pl.col("p_virus").is_not_null()
            )
            track, spans = drawn(row)
            self.regions.append(listed._replace(chunks=len(scored), track=track, regions=spans))
            self.regions.sort(key=lambda listed: listed.confidence, reverse=True)
            del self.regions[LISTED:]


def _is_full(
    best: list[ListedRecord] | list[ListedRegion], listed: ListedRecord | ListedRegion
) -> bool:
    """Return whether a list, which is in order, has no place for an entry."""
    return len(best) >= LISTED and best[LISTED - 1].confidence >= listed.confidence


def _bins(values: pl.Series, count: int) -> Int64:
    """Return the index of the bin of each value from 0 to 1."""
    return np.clip((values.to_numpy() * count + 1e-9).astype(np.int64), 0, count - 1)


def _add(table: Int64, row: Int64, column: Int64) -> None:
    table += np.bincount(row * table.shape[1] + column, minlength=table.size).reshape(table.shape)


def _track(chunks: pl.DataFrame) -> tuple[Point, ...]:
    """Return a track of at most `POINTS` points; p_virus with 3 decimals."""
    each = -(-len(chunks) // POINTS)
    joined = (
        chunks.with_columns(pl.int_range(pl.len()).floordiv(each).alias("point"))
        .group_by("point", maintain_order=True)
        .agg(pl.col("start").first(), pl.col("end").last(), pl.col("p_virus").mean().round(3))
    )
    return tuple(Point(*row) for row in joined.select("start", "end", "p_virus").iter_rows())


def _rows_as_printed(table: str, part: ScoredShard, types: Types) -> pl.DataFrame:
    """Return the rows of a shard with the values that the table has after it is read back."""
    columns = {column.name: column.value(part) for column in TABLES[table] if column.name in types}
    return pl.DataFrame(
        [
            pl.Series(name, as_printed(np.asarray(values, np.float64)), nan_to_null=True)
            if types[name] is pl.Float64
            else pl.Series(name, values, types[name])
            for name, values in columns.items()
        ]
    )


def as_printed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers from -1 to 1 as text with 6 decimals has them."""
    millionths = values * 1e6
    printed: NDArray[np.float64] = np.rint(millionths) / 1e6
    # Here the product itself may have been rounded to the other side of the middle.
    near_middle = np.abs(millionths - np.floor(millionths) - 0.5) < 1e-6
    for place in np.flatnonzero(near_middle).tolist():
        printed[place] = float(f"{values[place]:.6f}")
    return printed
