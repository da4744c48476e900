"""What the report lists of a run: viral records, viral regions inside records, and their tracks."""

from typing import NamedTuple, TypeAlias

from virnucpro.classify import TIER_NAMES

#: Tier -> its place in the order of confidence.
TIERS = {name: rank for rank, name in enumerate(TIER_NAMES)}
#: Start and end of regions of a record, 0-based, the end not in it.
Spans: TypeAlias = tuple[tuple[int, int], ...]


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
        regions: viral ones inside it.
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
        """By what records are put in order: probability, else tier and p_virus; then length."""
        return self.probability or 0.0, TIERS[self.tier], self.p_virus, self.length


class Region(NamedTuple):
    """A viral region inside a record.

    Attributes:
        record: id of the record.
        call: of the record.
        start: first base, 0-based.
        end: one past the last base.
        p_virus: its score, in thousandths.
        chunks: scored ones in it.
        track: scores along the record.
        regions: all viral ones inside the record, this one among them.
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
        """By what regions are put in order: score, then length."""
        return self.p_virus, self.length
