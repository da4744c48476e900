"""The content of a shard of `predict`: the scores of a block."""

from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES, ChunkScores, score_chunks, score_records
from virnucpro.classify.consensus import UNSCORED
from virnucpro.sequences import Chunks, Frames
from virnucpro.sequences.blocks import Block, Piece, chunks_of
from virnucpro.sequences.chunking import chunk_start
from virnucpro.sequences.nucleotides import base_counts


class Shard(NamedTuple):
    """Scores of a block. P pieces, C chunks, S open frames.

    The letters of a piece are those that its chunks cover, without those that the next piece
    repeats, so that the pieces of a record have all of its letters once.

    Attributes:
        ids: record ids, one a line.
        problems: why a piece cannot be processed, one a line, empty where it can.
        piece_P9: record number, length and chunks of the record or mate, first chunk and one past
            the last chunk on it, mate (0 where the record is no pair), how many of its letters are
            G or C and how many A, C, G or T, and letters kept, of each piece, int64.
        chunk_C4: index of the piece, number on the record from 1, start and end on the record or
            mate of each chunk, int64.
        frame_S5: index of the chunk, frame, protein length, first codon and codons of each frame,
            int32.
        scores_S2: P(other) and P(virus) of each open frame, fp32.
        headers: whole headers of the pieces that letters are kept of, one a line; empty of others
            and of those that do not begin their record or mate.
        letters: of the pieces whose record is wanted, or may turn out to be, end to end.
        qualities: of these letters; empty where none are kept.
    """

    ids: NDArray[np.uint8]
    problems: NDArray[np.uint8]
    piece_P9: NDArray[np.int64]
    chunk_C4: NDArray[np.int64]
    frame_S5: NDArray[np.int32]
    scores_S2: NDArray[np.float32]
    headers: NDArray[np.uint8]
    letters: NDArray[np.uint8]
    qualities: NDArray[np.uint8]

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Whether each piece ends its record."""
        _, _, chunks, _, last_chunk, mate, *_ = self.piece_P9.T
        ends: NDArray[np.bool_] = (last_chunk == chunks) & (mate != 1)
        return ends

    def chunk_scores(self) -> ChunkScores:
        """Return scores and calls of the shard's chunks."""
        return score_chunks(
            self.frame_S5[:, 0].astype(np.int64), self.scores_S2, len(self.chunk_C4)
        )


@dataclass(frozen=True)
class Kept:
    """Which records shards keep the letters of; where a record goes on, they always do.

    Attributes:
        calls: of these records.
        threshold: a record is virus above this p_virus.
    """

    calls: tuple[str, ...]
    threshold: float


def make_shard(
    block: Block,
    chunks: Chunks,
    frames: Frames,
    scores_S2: NDArray[np.float32],
    chunk_length: int,
    kept: Kept,
) -> Shard:
    """Put a block's scores, and the letters of the records that are kept, into a shard."""
    chunk_scores = score_chunks(frames.chunk, scores_S2, len(chunks.record))
    _, record_P = np.unique([piece.record for piece in block.pieces], return_inverse=True)
    records = int(record_P[-1]) + 1
    found = score_records(record_P[chunks.record], chunk_scores, records, kept.threshold).call
    calls = [CALL_NAMES[call] for call in found[record_P].tolist()]
    lengths = np.diff(frames.protein_offsets)
    frame_S5 = np.column_stack(
        [frames.chunk, frames.frame.astype(np.int64), lengths, frames.first_codon, frames.codons]
    ).astype(np.int32)
    is_kept = [call in kept.calls for call in calls]
    chunk_C4 = np.column_stack(chunks)
    return _shard(block.pieces, "", chunk_C4, frame_S5, scores_S2, is_kept, chunk_length)


def unscored_shard(block: Block, chunk_length: int, problem: str, calls: tuple[str, ...]) -> Shard:
    """Return a shard that says of each record of a block why it was not scored.

    Its chunks are listed without a score, so that tables have a line for every chunk.

    Args:
        block: the records.
        chunk_length: bases of a chunk.
        problem: of all of them.
        calls: of the records that letters are kept of.
    """
    chunk_C4 = np.column_stack(chunks_of(block.pieces, chunk_length))
    frame_S5 = np.empty((0, 5), np.int32)
    is_kept = [CALL_NAMES[UNSCORED] in calls] * len(block.pieces)
    scores_S2 = np.empty((0, 2), np.float32)
    return _shard(block.pieces, problem, chunk_C4, frame_S5, scores_S2, is_kept, chunk_length)


def _shard(
    pieces: list[Piece],
    problem: str,
    chunk_C4: NDArray[np.int64],
    frame_S5: NDArray[np.int32],
    scores_S2: NDArray[np.float32],
    is_kept: list[bool],
    chunk_length: int,
) -> Shard:
    """Put the parts together; `problem` is that of pieces without one of their own."""
    own = [_own(piece, chunk_length) for piece in pieces]
    letters = [
        piece.sequence[part].encode("latin-1") for piece, part in zip(pieces, own, strict=True)
    ]
    qualities = [piece.qualities[part].encode() for piece, part in zip(pieces, own, strict=True)]
    whole = {p.record for p in pieces if p.begins_record}
    whole &= {p.record for p in pieces if p.ends_record}
    chosen = [kept or p.record not in whole for p, kept in zip(pieces, is_kept, strict=True)]
    headers = [p.header if p.first_chunk == 0 else "" for p in pieces]
    piece_P6 = [(p.record, p.length, p.chunks, p.first_chunk, p.last_chunk, p.mate) for p in pieces]
    sizes = [len(text) * keep for text, keep in zip(letters, chosen, strict=True)]
    return Shard(
        _text("\n".join(p.id for p in pieces).encode()),
        _text("\n".join(p.problem or problem for p in pieces).encode()),
        np.column_stack([np.array(piece_P6, dtype=np.int64), base_counts(letters), sizes]),
        chunk_C4,
        frame_S5,
        scores_S2,
        _text("\n".join(head * keep for head, keep in zip(headers, chosen, strict=True)).encode()),
        _text(b"".join(compress(letters, chosen))),
        _text(b"".join(compress(qualities, chosen))),
    )


def encode_shard(shard: Shard) -> bytes:
    """Return a shard as a safetensors file."""
    return safetensors.numpy.save(shard._asdict())


def decode_shard(content: bytes) -> Shard:
    """Return what `encode_shard` was given."""
    return Shard(**safetensors.numpy.load(content))


def _own(piece: Piece, chunk_length: int) -> slice:
    """Return which of the piece's letters the record's next piece does not repeat."""
    if piece.last_chunk == piece.chunks:
        return slice(None)
    return slice(chunk_start(piece.last_chunk, piece.length, chunk_length) - piece.offset)


def _text(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, dtype=np.uint8)
