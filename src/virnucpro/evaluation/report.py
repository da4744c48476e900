"""evaluation.json and evaluation.tsv: what an evaluation found."""

import math

import msgspec

FORMAT = 1
#: Decimals of the numbers written: the last digits of a sum depend on the machine.
_DECIMALS = 6


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything in a report."""


class Estimate(_Part, frozen=True, kw_only=True):
    """A measure and its 95 % interval; None where it is not defined or not asked for."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, interval: tuple[float, float] | None) -> "Estimate":
        """Round the numbers; what is not finite is None."""
        low, high = interval or (math.nan, math.nan)
        return cls(value=_rounded(value), low=_rounded(low), high=_rounded(high))

    def __str__(self) -> str:
        """Return it with its interval, as in a table."""
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


class Group(_Part, frozen=True, kw_only=True):
    """Some records and their measures.

    Attributes:
        records: how many.
        virus: how many of them are labelled viral.
        sources: genomes they were cut from.
        measures: by name; docs/evaluate.md defines them.
    """

    records: int
    virus: int
    sources: int
    measures: dict[str, Estimate]


class ReliabilityBin(_Part, frozen=True, kw_only=True):
    """Records whose probability lies in one range.

    Attributes:
        low: where the range begins.
        high: where it ends.
        records: how many.
        virus: how many of them are labelled viral.
        mean_probability: over the records.
    """

    low: float
    high: float
    records: int
    virus: int
    mean_probability: float


class Asked(_Part, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        predictions: the table.
        predictions_sha256: digest of its bytes.
        labels: the files.
        labels_sha256: digest of each one's bytes.
        score_column: the column that ranks records.
        bootstrap: resamples.
        seed: of the resamples.
    """

    predictions: str
    predictions_sha256: str
    labels: list[str]
    labels_sha256: list[str]
    score_column: str
    bootstrap: int
    seed: int


class Evaluation(_Part, frozen=True, kw_only=True):
    """The content of `evaluation.json`.

    Attributes:
        format: version of this format.
        virnucpro: its version.
        asked: what was asked for.
        probability_column: taken as P(virus) for calibration and for calls `at_half`; None where
            the predictions have none.
        without_label: rows of predictions that have no label, and do not count.
        without_prediction: labelled records without a prediction, that do not count.
        views: by view (`all`, `scored`) and group (`overall`, `class NAME`, `length BIN`).
        reliability: bins of the same width that hold records.
        notes: what a reader should know.
    """

    format: int
    virnucpro: str
    asked: Asked
    probability_column: str | None
    without_label: int
    without_prediction: int
    views: dict[str, dict[str, Group]]
    reliability: list[ReliabilityBin]
    notes: list[str]

    def to_json(self) -> bytes:
        """Return the file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def to_tsv(self) -> bytes:
        """Return one line for each view, group and metric; what is not defined is empty."""
        lines = ["view\tgroup\tmetric\tvalue\tlow\thigh"]
        for view, groups in self.views.items():
            for name, group in groups.items():
                counts = {
                    "records": group.records,
                    "virus": group.virus,
                    "sources": group.sources,
                }
                lines += [f"{view}\t{name}\t{what}\t{n}\t\t" for what, n in counts.items()]
                for metric, found in group.measures.items():
                    numbers = (found.value, found.low, found.high)
                    cells = ("" if n is None else f"{n:.{_DECIMALS}f}" for n in numbers)
                    lines.append("\t".join((view, name, metric, *cells)))
        return "".join(f"{line}\n" for line in lines).encode()


def _rounded(number: float) -> float | None:
    return round(float(number), _DECIMALS) if math.isfinite(number) else None
