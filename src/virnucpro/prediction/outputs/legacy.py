"""The two files of the original VirNucPro, exactly as it writes them (docs/outputs.md).

Scores are printed as numpy prints a float32. `max_score_0` and `max_score_1` are columns that
viral-ngs added and that its roll-up of contigs reads.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import frame_calls
from virnucpro.classify.consensus import UNSCORED, VIRUS
from virnucpro.prediction.outputs.columns import words_of
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.prediction.outputs.tables import append_rows
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.sequences import FRAME_NAMES

FRAME_HEADER = "Sequence_ID\tPrediction\tscore1\tscore2\n"
CHUNK_HEADER = "Modified_ID\tIs_Virus\tmax_score_0\tmax_score_1\n"
_LEGACY_CALLS = ("others", "virus")
#: What follows the id of a chunk: the frame, or nothing if the six were scored together.
_FRAME_ENDS = (*FRAME_NAMES, "")


def _printed(values: NDArray[np.floating]) -> pl.Series:
    return pl.Series(values.astype(np.float32).astype(str).tolist(), dtype=pl.String)


def _chunk_ids(part: ScoredShard, chunk: NDArray[np.integer]) -> pl.Series:
    piece, number, _, _ = part.shard.chunk_C4[chunk].T
    ids = pl.Series(part.names, dtype=pl.String).gather(piece)
    columns = pl.DataFrame({"id": ids, "number": number})
    return columns.select(pl.format("{}_chunk_{}", "id", "number")).to_series()


class LegacyFiles:
    """A sink that writes both files.

    Args:
        files: opens the files.
        outputs: paths of the files.
    """

    def __init__(self, files: PartialFiles, outputs: Outputs) -> None:
        self._frames = files.open(outputs.path("legacy_frames"))
        self._chunks = files.open(outputs.path("legacy_chunks"))
        self._frames.write(FRAME_HEADER.encode())
        self._unsorted = files.scratch(outputs.path("legacy_chunks"))

    def add(self, part: ScoredShard) -> None:
        """Append the rows of a shard."""
        shard, scores = part.shard, part.chunk_scores
        frame = shard.frame_S5[:, 1].astype(np.uint8)
        chunk_ids = _chunk_ids(part, shard.frame_S5[:, 0])
        frame_table = {
            "Sequence_ID": chunk_ids + words_of(frame, _FRAME_ENDS),
            "Prediction": words_of(frame_calls(shard.scores_S2), _LEGACY_CALLS),
            "score1": _printed(shard.scores_S2[:, 0]),
            "score2": _printed(shard.scores_S2[:, 1]),
        }
        append_rows(self._frames, pl.DataFrame(frame_table))
        scored = np.flatnonzero(scores.call != UNSCORED)
        is_virus = (scores.call[scored] == VIRUS).astype(np.uint8)
        chunk_table = {
            "Modified_ID": _chunk_ids(part, scored),
            "Is_Virus": words_of(is_virus, ("False", "True")),
            "max_score_0": _printed(scores.p_other[scored]),
            "max_score_1": _printed(scores.p_virus[scored]),
        }
        append_rows(self._unsorted, pl.DataFrame(chunk_table))

    def finish(self) -> None:
        """Write the chunks, sorted by id as text."""
        self._chunks.write(CHUNK_HEADER.encode())
        if not self._unsorted.tell():
            return
        self._unsorted.seek(0)
        rows = pl.read_csv(
            self._unsorted,
            separator="\t",
            has_header=False,
            new_columns=CHUNK_HEADER.split(),
            infer_schema=False,
            quote_char=None,
        )
        append_rows(self._chunks, rows.sort("Modified_ID", maintain_order=True))
