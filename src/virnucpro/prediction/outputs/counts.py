"""What a run found, in numbers: the counts of summary.json."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from virnucpro.classify import CALL_NAMES
from virnucpro.classify.consensus import UNSCORED
from virnucpro.errors import one_line
from virnucpro.prediction.outputs.probabilities import Probabilities
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.runs.shard_text import PROBLEMS_LISTED

#: Reasons why a record has no score.
NO_OPEN_FRAME = "no open frame"
NOT_PROCESSED = "not processed"
#: Note for an input without records.
_NO_RECORDS = "the input has no records: tables contain only their headers"


@dataclass
class Counts:
    """A sink that counts.

    Attributes:
        records: number of records read.
        bases: number of their letters.
        chunks: number of chunks.
        chunks_unscored: number of chunks without a score.
        open_frames: number of frames scored.
        calls: number of records by call.
        unscored: number of unscored records by reason.
        calibrated: whether the bundle is calibrated.
        prevalence: share of viruses among the scored records that the probabilities assume; None
            without a calibration, or if no record has a score to estimate it from.
        prevalence_estimated: whether the prevalence was estimated from these records.
        records_expected_viral: sum of the probabilities; None without a calibration.
        problems: one line for each record that could not be processed, up to `PROBLEMS_LISTED`.
        notes: what the user should know about the records.
    """

    records: int = 0
    bases: int = 0
    chunks: int = 0
    chunks_unscored: int = 0
    open_frames: int = 0
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CALL_NAMES, 0))
    unscored: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((NO_OPEN_FRAME, NOT_PROCESSED), 0)
    )
    calibrated: bool = False
    prevalence: float | None = None
    prevalence_estimated: bool = False
    records_expected_viral: float | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, found: Probabilities | None) -> "Counts":
        """Return counts of no records yet, with what the first pass found about all of them."""
        if found is None:
            return cls()
        counts = cls(calibrated=True, records_expected_viral=round(found.expected, 3))
        if len(found.kinds) or not found.is_estimated:
            counts.prevalence, counts.prevalence_estimated = found.prevalence, found.is_estimated
        return counts

    def add(self, part: ScoredShard) -> None:
        """Count a shard and the records that end in it."""
        finished, frames = part.records, part.chunk_scores.frames
        self.records += len(finished.ids)
        self.bases += int(finished.lengths.sum())
        self.chunks += len(frames)
        self.chunks_unscored += int((frames == 0).sum())
        self.open_frames += int(frames.sum())
        for code, count in Counter(finished.scores.call.tolist()).items():
            self.calls[CALL_NAMES[code]] += count
        is_unscored = finished.scores.call == UNSCORED
        has_problem = np.array([bool(problem) for problem in finished.problems], np.bool_)
        self.unscored[NOT_PROCESSED] += int((is_unscored & has_problem).sum())
        self.unscored[NO_OPEN_FRAME] += int((is_unscored & ~has_problem).sum())
        if len(self.problems) < PROBLEMS_LISTED:
            found = [one_line(problem) for problem in finished.problems if problem]
            self.problems += found[: PROBLEMS_LISTED - len(self.problems)]

    def finish(self) -> None:
        """Note that there are no records."""
        if not self.records:
            self.notes.append(_NO_RECORDS)
