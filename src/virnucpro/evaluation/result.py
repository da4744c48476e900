"""The result of an evaluation, and how it is written as evaluation.json and evaluation.tsv."""

import math

import msgspec

FORMAT = 1
#: Decimals of the numbers in the files; further digits of a sum depend on the machine.
_DECIMALS = 6


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the parts of an evaluation."""


class Estimate(_Part, frozen=True, kw_only=True):
    """A measure and its 95 % interval; None if undefined or not computed."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, interval: tuple[float, float] | None) -> "Estimate":
        """Round the numbers; numbers that are not finite become None."""
        low, high = interval or (math.nan, math.nan)
        return cls(value=_rounded(value), low=_rounded(low), high=_rounded(high))

    def __str__(self) -> str:
        """Return the value with its interval, as the tables show it."""
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


class Group(_Part, frozen=True, kw_only=True):
    """Some records and their measures.

    Attributes:
        records: number of records.
        virus: number of records labelled viral.
        sources: number of genomes that the records were cut from.
        measures: name -> estimate; docs/evaluate.md defines them.
    """

    records: int
    virus: int
    sources: int
    measures: dict[str, Estimate]


class ReliabilityBin(_Part, frozen=True, kw_only=True):
    """Records with a probability in one range.

    Attributes:
        low: start of the range.
        high: end of the range.
        records: number of records.
        virus: number of records labelled viral.
        mean_probability: mean over the records.
    """

    low: float
    high: float
    records: int
    virus: int
    mean_probability: float


class Asked(_Part, frozen=True, kw_only=True):
    """Inputs and settings.

    Attributes:
        predictions: path of the table.
        predictions_sha256: digest of the table.
        labels: paths of the label files.
        labels_sha256: digest of each label file.
        score_column: the column that ranks records.
        bootstrap: number of resamples.
        seed: seed of the resamples.
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
        virnucpro: version of virnucpro.
        asked: inputs and settings.
        probability_column: column taken as P(virus), for calibration and for calls `at_half`; None
            if the predictions have none.
        without_label: number of predictions without a label; they are left out.
        without_prediction: number of labelled records without a prediction; they are left out.
        views: view (`all`, `scored`) -> group (`overall`, `class NAME`, `length BIN`) -> measures.
        reliability: the non-empty bins of equal width.
        notes: what the reader should know.
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

    def to_tsv(self) -> bytes:
        """Return one line for each view, group and metric; undefined numbers are empty cells."""
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
