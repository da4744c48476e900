"""frames.tsv, chunks.tsv and records.tsv, written in input order with flat memory."""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES, ROLLUP_NAMES, TIER_NAMES, ChunkScores, frame_calls
from virnucpro.classify.consensus import UNSCORED
from virnucpro.prediction.outputs.columns import Column
from virnucpro.prediction.outputs.probabilities import Probabilities
from virnucpro.prediction.outputs.record_scores import FinishedRecords
from virnucpro.prediction.shard import Shard
from virnucpro.runs.partial_files import append_rows
from virnucpro.sequences import DRAWN_NAMES
from virnucpro.sequences.frames import codon_span


class TableWriter:
    """Appends frames of rows to one tab-separated file with a header line.

    Args:
        file: where to write; gets the header at once, so that a table of no rows has one too.
        columns: of the table.
    """

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._file = file
        file.write(("\t".join(column.name for column in columns) + "\n").encode())

    def write(self, rows: pl.DataFrame) -> None:
        """Append rows; probabilities get 6 decimals, missing values stay empty."""
        append_rows(self._file, rows)


def names(codes: NDArray[np.uint8], vocabulary: tuple[str, ...]) -> pl.Series:
    """Turn codes into the words they stand for."""
    return pl.Series(vocabulary).gather(codes.astype(np.uint32))


def _names_where(
    exists: NDArray[np.bool_], codes: NDArray[np.uint8], vocabulary: tuple[str, ...]
) -> pl.Series:
    """Turn codes into words where they mean something."""
    words = pl.Series([*vocabulary, None], dtype=pl.String)
    return words.gather(np.where(exists, codes, len(vocabulary)).astype(np.uint32))


def _probability(values: NDArray[np.floating]) -> pl.Series:
    return pl.Series(values.astype(np.float64)).fill_nan(None)


def _mate(shard: Shard, piece: NDArray[np.int64]) -> pl.Series:
    """Return the mate of each row; empty where the record is no pair."""
    return pl.Series([None, 1, 2], dtype=pl.Int64).gather(shard.piece_P9[piece, 5])


def frame_rows(shard: Shard, ids: list[str]) -> pl.DataFrame:
    """Return the rows of frames.tsv; `ids` are the ids of the shard's pieces."""
    chunk, frame, protein_length, first_codon, codons = shard.frame_S5.T
    piece, number, chunk_start, chunk_end = shard.chunk_C4[chunk].T
    start, end = codon_span(frame, first_codon, codons, chunk_start, chunk_end)
    return pl.DataFrame(
        {
            "record": pl.Series(ids, dtype=pl.String).gather(piece),
            "chunk": number,
            "start": start,
            "end": end,
            "frame": names(frame.astype(np.uint8), DRAWN_NAMES),
            "protein_length": protein_length,
            "p_virus": _probability(shard.scores_S2[:, 1]),
            "call": names(frame_calls(shard.scores_S2), CALL_NAMES),
            "mate": _mate(shard, piece),
        }
    )


def chunk_rows(shard: Shard, scores: ChunkScores, ids: list[str]) -> pl.DataFrame:
    """Return the rows of chunks.tsv; `ids` are the ids of the shard's pieces."""
    piece, number, start, end = shard.chunk_C4.T
    return pl.DataFrame(
        {
            "record": pl.Series(ids, dtype=pl.String).gather(piece),
            "chunk": number,
            "start": start,
            "end": end,
            "open_frames": scores.frames,
            "p_other": _probability(scores.p_other),
            "p_virus": _probability(scores.p_virus),
            "call": names(scores.call, CALL_NAMES),
            "mate": _mate(shard, piece),
        }
    )


def record_rows(records: FinishedRecords, calibrated: Probabilities | None) -> pl.DataFrame:
    """Return the rows of records.tsv; what scores mean is empty where no bundle says it."""
    scores = records.scores
    missing = np.full(len(records.ids), np.nan)
    probability, fdr = missing, missing
    if calibrated is not None:
        probability, fdr = calibrated.columns(
            scores.p_virus, records.scored_chunks, records.chunk_bases
        )
    is_scored = scores.call != UNSCORED
    return pl.DataFrame(
        {
            "record": records.ids,
            "length": records.lengths,
            "chunks": records.chunks,
            "open_frames": records.frames,
            "p_virus": _probability(scores.p_virus),
            "call": names(scores.call, CALL_NAMES),
            "tier": _names_where(is_scored, scores.tier, TIER_NAMES),
            "probability": _probability(probability),
            "fdr": _probability(fdr),
            "weighted_delta": _probability(np.round(scores.weighted_delta, 6) + 0.0),  # no -0.0
            "viral_chunks": _probability(scores.viral_chunks),
            "other_chunks": _probability(scores.other_chunks),
            "ambiguous_chunks": _probability(scores.ambiguous_chunks),
            "rollup": _names_where(is_scored, scores.rollup, ROLLUP_NAMES),
            "gc": _probability(records.gc),
            "mates": records.mates,
        }
    )
