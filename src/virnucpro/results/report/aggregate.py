"""What the report shows of a run's tables: one pass over the records, one over the chunks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES, TIER_NAMES
from virnucpro.errors import RunError
from virnucpro.results.paths import Outputs
from virnucpro.results.report.reading import Types, batches

#: Bins of p_virus from 0 to 1, and of the share of G and C.
SCORE_BINS, GC_BINS = 50, 25
#: Bins of length: so many for each doubling, from one base on.
OCTAVE_BINS, _OCTAVES = 8, 40
#: Records below so many bases are counted: what their scores mean is little.
SHORT = 100
#: Viral records listed, and most points of a record's track; further chunks are averaged.
LISTED, POINTS = 250, 300

Int64 = NDArray[np.int64]

_RECORD: Types = {
    "record": pl.String, "length": pl.Int64, "chunks": pl.Int64, "p_virus": pl.Float64,
    "call": pl.String, "tier": pl.String,
}  # fmt: skip
_OPTIONAL: Types = {"probability": pl.Float64, "fdr": pl.Float64, "gc": pl.Float64}
_CHUNK: Types = {"record": pl.String, "start": pl.Int64, "end": pl.Int64, "p_virus": pl.Float64}
_TIERS = {name: rank for rank, name in enumerate(TIER_NAMES)}


class Point(NamedTuple):
    """A stretch of a track.

    Attributes:
        start: first base.
        end: one past the last.
        p_virus: of the chunk, or the mean of several; None where none is scored.
    """

    start: int
    end: int
    p_virus: float | None


class Viral(NamedTuple):
    """A record called virus.

    Attributes:
        record: its id.
        length: bases.
        chunks: cut from it.
        p_virus: its score.
        tier: confidence.
        probability: that it is a virus; None without a calibration.
        fdr: share of false viruses among it and all with a higher probability; None likewise.
        gc: share of G and C; None where the table does not say it.
        track: scores along it; empty for one chunk.
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

    @property
    def confidence(self) -> tuple[float, int, float, int]:
        """By what records are put in order: probability, else tier and p_virus; then length."""
        return self.probability or 0.0, _TIERS[self.tier], self.p_virus, self.length


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
    """

    scores_CB: Int64 = field(default_factory=lambda: _zeros(len(CALL_NAMES)))
    lengths_LB: Int64 = field(default_factory=lambda: _zeros(OCTAVE_BINS * _OCTAVES))
    gc_GB: Int64 = field(default_factory=lambda: _zeros(GC_BINS))
    shortest: int = 0
    longest: int = 0
    short: int = 0
    false_share: float | None = None
    viral: list[Viral] = field(default_factory=list)

    def count(self, rows: pl.DataFrame) -> None:
        """Add some records."""
        lengths = rows["length"].to_numpy()
        if len(lengths):
            self.shortest = min(self.shortest or int(lengths.min()), int(lengths.min()))
            self.longest = max(self.longest, int(lengths.max()))
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
    try:
        listed = _count(outputs, found).to_dicts()
    except pl.exceptions.PolarsError as error:  # a word that no call or tier is
        raise RunError(
            f"{outputs.path('records')}: cannot be read ({error}); make the run anew"
        ) from error
    tracks = _tracks(outputs, listed)
    names = [name for name in Viral._fields if name != "track"]
    found.viral = [
        msgspec.convert([*(row.get(name) for name in names), tracks.get(i, ())], Viral)
        for i, row in enumerate(listed)
    ]
    return found


def _count(outputs: Outputs, found: Found) -> pl.DataFrame:
    """Count all records; return the most confident viral ones, with the chunks before each."""
    best, offset = pl.DataFrame(), 0
    for rows in batches(outputs.path("records"), _RECORD, _OPTIONAL):
        found.count(rows)
        chunks = rows["chunks"]
        placed = rows.with_columns((chunks.cum_sum() - chunks + offset).alias("first"))
        offset += int(chunks.sum())
        viral = placed.filter(pl.col("call") == "virus")
        if "fdr" in viral.columns and viral["fdr"].count():
            found.false_share = max(found.false_share or 0.0, *viral["fdr"].drop_nulls())
        best = _most_confident(pl.concat([best, viral]) if len(best) else viral)
    return best


def _most_confident(viral: pl.DataFrame) -> pl.DataFrame:
    """Return the first records by `Viral.confidence`; of equals those that come first."""
    keys = [pl.col("tier").replace_strict(_TIERS, return_dtype=pl.Int64), "p_virus", "length"]
    if "probability" in viral.columns:
        keys.insert(0, pl.col("probability").fill_null(0.0))
    return viral.sort(keys, descending=True, maintain_order=True).head(LISTED)


def _tracks(outputs: Outputs, listed: list[dict[str, int]]) -> Mapping[int, tuple[Point, ...]]:
    """Return the scores along the listed records of several chunks, by their place in the list.

    Rows of chunks.tsv are in the order of records.tsv, so that a record's place is the number of
    chunks before it, whatever its id.
    """
    spans = sorted(
        (row["first"], row["first"] + row["chunks"], i)
        for i, row in enumerate(listed)
        if row["chunks"] > 1
    )
    parts: dict[int, list[pl.DataFrame]] = {i: [] for _, _, i in spans}
    if not spans:
        return {}
    begin = 0
    for rows in batches(outputs.path("chunks"), _CHUNK):
        end = begin + len(rows)
        for first, last, i in spans:
            low, high = max(first, begin), min(last, end)
            if low < high:
                parts[i].append(rows.slice(low - begin, high - low))
        begin = end
        if begin >= spans[-1][1]:
            break
    return {i: _points(pl.concat(rows)) for i, rows in parts.items() if rows}


def _points(chunks: pl.DataFrame) -> tuple[Point, ...]:
    """Return a track of at most `POINTS` points; p_virus with 3 decimals."""
    each = -(-len(chunks) // POINTS)
    joined = (
        chunks.with_columns(pl.int_range(pl.len()).floordiv(each).alias("point"))
        .group_by("point", maintain_order=True)
        .agg(pl.col("start").first(), pl.col("end").last(), pl.col("p_virus").mean().round(3))
    )
    return tuple(Point(*row) for row in joined.select("start", "end", "p_virus").iter_rows())
