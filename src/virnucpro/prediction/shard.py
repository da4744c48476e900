"""The content of a shard of `predict`: the scores of a block."""

from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from virnucpro.classify import CALL_NAMES, ChunkScores, call_chunks, score_chunks, score_records
from virnucpro.classify.consensus import UNSCORED
from virnucpro.runs.shard_text import lines_array, text_array
from virnucpro.sequences import Chunks, Frames
from virnucpro.sequences.blocks import Block, Piece, chunks_of
from virnucpro.sequences.chunking import chunk_start
from virnucpro.sequences.nucleotides import base_counts


class Shard(NamedTuple):
    """Scores of a block with P pieces, C chunks and S open frames.

    The letters of a piece are those that its chunks cover, without the letters that the next piece
    repeats: together, the pieces of a record have each of its letters once.

    Attributes:
        ids: record ids, one line each.
        problems: why a piece cannot be processed, one line each; empty if it can.
        piece_P9: int64, for each piece: number of the record from 0; length of the record or mate;
            number of chunks of the record or mate; index of the first chunk of the piece; one past
            the index of its last chunk; mate (0 if the record is not a pair); number of its letters
            that are G or C; number that are A, C, G or T; number of letters that the shard keeps.
        chunk_C4: int64, for each chunk: index of its piece; number on the record, from 1; start
            and end on the record or mate.
        maxima_C2: largest P(other) and P(virus) of each chunk, fp32; NaN if no frame is open.
        frame_S5: int32, for each frame: index of its chunk, frame, protein length, first codon and
            number of codons.
        scores_S2: P(other) and P(virus) of each open frame, fp32.
        headers: one line for each piece: the whole header if the shard keeps letters of the piece
            and the piece begins its record or mate, otherwise empty.
        letters: letters of the pieces whose record is wanted in a file of reads, or may be, end to
            end.
        qualities: qualities of these letters; empty if the inputs have none or none are wanted.
    """

    ids: NDArray[np.uint8]
    problems: NDArray[np.uint8]
    piece_P9: NDArray[np.int64]
    chunk_C4: NDArray[np.int64]
    maxima_C2: NDArray[np.float32]
    frame_S5: NDArray[np.int32]
    scores_S2: NDArray[np.float32]
    headers: NDArray[np.uint8]
    letters: NDArray[np.uint8]
    qualities: NDArray[np.uint8]

    @property
    def begins(self) -> NDArray[np.bool_]:
        """Whether each piece begins its record."""
        _, _, _, first_chunk, _, mate, *_ = self.piece_P9.T
        begins: NDArray[np.bool_] = (first_chunk == 0) & (mate != 2)
        return begins

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Whether each piece ends its record."""
        _, _, chunks, _, last_chunk, mate, *_ = self.piece_P9.T
        ends: NDArray[np.bool_] = (last_chunk == chunks) & (mate != 1)
        return ends

    def chunk_scores(self) -> ChunkScores:
        """Return scores and calls of the shard's chunks."""
        frames = np.bincount(self.frame_S5[:, 0], minlength=len(self.chunk_C4))
        return call_chunks(frames, self.maxima_C2.astype(np.float64))


@dataclass(frozen=True)
class Kept:
    """The records whose letters shards keep; those of records that go on are always kept.

    Attributes:
        calls: calls of these records.
        threshold: a record is a virus if its p_virus is above this.
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
    """Put the scores of a block, and the letters of the records that are kept, into a shard."""
    chunk_scores = score_chunks(frames.chunk, scores_S2, len(chunks.record))
    _, record_P = np.unique([piece.record for piece in block.pieces], return_inverse=True)
    records = int(record_P[-1]) + 1
    found = score_records(record_P[chunks.record], chunk_scores, records, kept.threshold).call
    calls = [CALL_NAMES[call] for call in found[record_P].tolist()]
    lengths = np.diff(frames.protein_offsets)
    frame_S5 = np.column_stack(
        [frames.chunk, frames.frame.astype(np.int64), lengths, frames.first_codon, frames.codons]
    ).astype(np.int32)
    maxima_C2 = np.column_stack([chunk_scores.p_other, chunk_scores.p_virus]).astype(np.float32)
    is_kept = [call in kept.calls for call in calls]
    scored = (np.column_stack(chunks), maxima_C2, frame_S5, scores_S2)
    return _shard(block.pieces, "", scored, is_kept, chunk_length)


def unscored_shard(block: Block, chunk_length: int, problem: str, calls: tuple[str, ...]) -> Shard:
    """Return a shard that says for each record of a block why it was not scored.

    It lists the chunks without a score, so that tables have a line for every chunk.

    Args:
        block: the records.
        chunk_length: bases of a chunk.
        problem: the reason, the same for all of them.
        calls: calls of the records whose letters shards keep.
    """
    chunk_C4 = np.column_stack(chunks_of(block.pieces, chunk_length))
    maxima_C2 = np.full((len(chunk_C4), 2), np.nan, np.float32)
    scored = (chunk_C4, maxima_C2, np.empty((0, 5), np.int32), np.empty((0, 2), np.float32))
    is_kept = [CALL_NAMES[UNSCORED] in calls] * len(block.pieces)
    return _shard(block.pieces, problem, scored, is_kept, chunk_length)


def _shard(
    pieces: list[Piece],
    problem: str,
    scored: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]],
    is_kept: list[bool],
    chunk_length: int,
) -> Shard:
    """Put the parts of a shard together.

    Args:
        pieces: the pieces of the block.
        problem: the problem of pieces without one of their own.
        scored: `chunk_C4`, `maxima_C2`, `frame_S5` and `scores_S2`.
        is_kept: whether the letters of each piece are wanted.
        chunk_length: bases of a chunk.
    """
    own = [_own_letters(piece, chunk_length) for piece in pieces]
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
        lines_array(p.id for p in pieces),
        lines_array(p.problem or problem for p in pieces),
        np.column_stack([np.array(piece_P6, dtype=np.int64), base_counts(letters), sizes]),
        *scored,
        lines_array(head * keep for head, keep in zip(headers, chosen, strict=True)),
        text_array(b"".join(compress(letters, chosen))),
        text_array(b"".join(compress(qualities, chosen))),
    )


def encode_shard(shard: Shard) -> bytes:
    """Return a shard as a safetensors file."""
    return safetensors.numpy.save(shard._asdict())


def decode_shard(content: bytes) -> Shard:
    """Return the shard that `encode_shard` encoded."""
    return Shard(**safetensors.numpy.load(content))


def _own_letters(piece: Piece, chunk_length: int) -> slice:
    """Return the part of the piece's letters that the record's next piece does not repeat."""
    if piece.last_chunk == piece.chunks:
        return slice(None)
    return slice(chunk_start(piece.last_chunk, piece.length, chunk_length) - piece.offset)
