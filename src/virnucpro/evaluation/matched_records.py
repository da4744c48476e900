"""Labelled records as arrays, and the groups that are measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
#: Name of a length bin -> lowest length in bases.
LENGTH_BINS = {"<200": 0, "200-399": 200, "400-749": 400, "750-1499": 750, ">=1500": 1500}
VIEWS = ("all", "scored")
#: Part of a measure's name -> false positive rate at which recall is given.
FALSE_POSITIVE_RATES = {"1_percent": 0.01, "5_percent": 0.05}
#: Tolerance for products such as 0.29 * 100, which is a little less than 29.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Records:
    """Labelled records and their predictions, as arrays of one element a record.

    Attributes:
        rank: rank of the score among all distinct scores, from 1; 0 without a score.
        is_virus: the label.
        probability: P(virus); NaN if unknown.
        calls: rule -> which records are called virus. Rules are `call`, the column of the
            predictions, and `half`, a probability above 0.5; each is there if the predictions
            allow it.
        source: number of the genome that a record was cut from; no source has both labels.
        class_name: the class; empty if unknown.
        length: length in bases; NaN if unknown.
    """

    rank: NDArray[np.int64]
    is_virus: Mask
    probability: NDArray[np.float64]
    calls: dict[str, Mask]
    source: NDArray[np.int64]
    class_name: NDArray[np.str_]
    length: NDArray[np.float64]

    @classmethod
    def of(cls, rows: pl.DataFrame, *, has_probability: bool) -> "Records":
        """Convert matched rows to arrays."""
        probability = rows["probability"].to_numpy().astype(np.float64)
        calls = {}
        if "call" in rows.columns:
            calls["call"] = (rows["call"] == "virus").to_numpy()
        if has_probability:
            calls["half"] = probability > 0.5
        lengths = rows["length"] if "length" in rows.columns else pl.repeat(None, len(rows))
        units = rows.select(pl.struct("is_virus", "source").rank("dense")).to_series()
        return cls(
            rank=rows["score"].rank("dense").fill_null(0).to_numpy().astype(np.int64),
            is_virus=rows["is_virus"].to_numpy(),
            probability=probability,
            calls=calls,
            source=units.to_numpy().astype(np.int64) - 1,
            class_name=rows["class"].fill_null("").to_numpy().astype(np.str_),
            length=pl.select(lengths).to_series().cast(pl.Float64).to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def is_scored(self) -> Mask:
        """Which records have a score."""
        return self.rank > 0

    @property
    def sources(self) -> int:
        """Number of distinct sources."""
        return len(np.unique(self.source))

    def take(self, rows: NDArray[np.int64]) -> "Records":
        """Return these records."""
        return Records(
            self.rank[rows],
            self.is_virus[rows],
            self.probability[rows],
            {rule: called[rows] for rule, called in self.calls.items()},
            self.source[rows],
            self.class_name[rows],
            self.length[rows],
        )


class Part(NamedTuple):
    """Records that are measured together, and the classes among them.

    Attributes:
        view: `all` or `scored`.
        name: `overall`, or `length` and a bin.
        rows: indices of the records among all records.
        records: the records.
        classes: name of each class to measure -> which of `records` belong to it.
    """

    view: str
    name: str
    rows: NDArray[np.int64]
    records: Records
    classes: dict[str, Mask]


def parts_of(records: Records) -> Iterator[Part]:
    """Yield each view as a whole, with its classes, and then by length."""
    for view in VIEWS:
        rows = np.flatnonzero(records.is_scored | (view == "all"))
        chosen = records.take(rows)
        yield Part(view, "overall", rows, chosen, _classes(chosen))
        bounds = [*LENGTH_BINS.values(), np.inf]
        for i, name in enumerate(LENGTH_BINS):
            within = rows[(chosen.length >= bounds[i]) & (chosen.length < bounds[i + 1])]
            if len(within):
                yield Part(view, f"length {name}", within, records.take(within), {})


def _classes(records: Records) -> dict[str, Mask]:
    """Return the records of each class; a class with both labels becomes two."""
    classes = {}
    for name in np.unique(records.class_name[records.class_name != ""]).tolist():
        inside = records.class_name == name
        labels = np.unique(records.is_virus[inside])
        for label in labels[::-1]:
            suffix = f", {'virus' if label else 'other'}" if len(labels) == 2 else ""
            classes[f"class {name}{suffix}"] = inside & (records.is_virus == label)
    return classes
