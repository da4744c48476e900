"""The content of a shard of `predict`: the scores of a block."""

from typing import NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from virnucpro.classify import ChunkScores, score_chunks, score_records
from virnucpro.engine.blocks import Block, Piece
from virnucpro.sequences import Chunks, Frames
from virnucpro.sequences.chunking import chunk_start
from virnucpro.sequences.reader import record_id


class Shard(NamedTuple):
    """Scores of a block. P pieces, C chunks, S open frames.

    Attributes:
        ids: record ids, one a line.
        problems: why a piece cannot be processed, one a line, empty where it can.
        piece_P6: record number, length, chunks of the record, first chunk, one past the last
            chunk, and bytes of `fasta`, of each piece, int64.
        chunk_C4: index of the piece, number from 1, start and end of each chunk, int64.
        frame_S5: index of the chunk, frame, protein length, first codon and codons of each frame,
            int32.
        scores_S2: P(other) and P(virus) of each open frame, fp32.
        fasta: FASTA text of the pieces whose record is viral, or may turn out to be.
    """

    ids: NDArray[np.uint8]
    problems: NDArray[np.uint8]
    piece_P6: NDArray[np.int64]
    chunk_C4: NDArray[np.int64]
    frame_S5: NDArray[np.int32]
    scores_S2: NDArray[np.float32]
    fasta: NDArray[np.uint8]

    def chunk_scores(self) -> ChunkScores:
        """Return scores and calls of the shard's chunks."""
        return score_chunks(
            self.frame_S5[:, 0].astype(np.int64), self.scores_S2, len(self.chunk_C4)
        )


def make_shard(
    block: Block,
    chunks: Chunks,
    frames: Frames,
    scores_S2: NDArray[np.float32],
    chunk_length: int,
    letters_above: float,
) -> Shard:
    """Put a block's scores, and the letters of records with a p_virus above, into a shard."""
    pieces = block.pieces
    chunk_scores = score_chunks(frames.chunk, scores_S2, len(chunks.record))
    calls = score_records(chunks.record, chunk_scores, len(pieces), letters_above).call
    fasta = [
        _fasta(piece, chunk_length) if not piece.is_whole or call == 1 else b""
        for piece, call in zip(pieces, calls.tolist(), strict=True)
    ]
    lengths = np.diff(frames.protein_offsets)
    frame_S5 = np.column_stack(
        [frames.chunk, frames.frame.astype(np.int64), lengths, frames.first_codon, frames.codons]
    ).astype(np.int32)
    return _shard(pieces, "", np.column_stack(chunks), frame_S5, scores_S2, fasta)


def unscored_shard(block: Block, chunk_length: int, problem: str) -> Shard:
    """Return a shard that says of each record of a block why it was not scored."""
    fasta = [b"" if piece.is_whole else _fasta(piece, chunk_length) for piece in block.pieces]
    chunk_C4, frame_S5 = np.empty((0, 4), np.int64), np.empty((0, 5), np.int32)
    return _shard(block.pieces, problem, chunk_C4, frame_S5, np.empty((0, 2), np.float32), fasta)


def _shard(
    pieces: list[Piece],
    problem: str,
    chunk_C4: NDArray[np.int64],
    frame_S5: NDArray[np.int32],
    scores_S2: NDArray[np.float32],
    fasta: list[bytes],
) -> Shard:
    """Put the parts together; `problem` is that of pieces without one of their own."""
    piece_P6 = [
        (p.record, p.length, p.chunks, p.first_chunk, p.last_chunk, len(text))
        for p, text in zip(pieces, fasta, strict=True)
    ]
    return Shard(
        _text("\n".join(record_id(p.header) for p in pieces).encode()),
        _text("\n".join(p.problem or problem for p in pieces).encode()),
        np.array(piece_P6, dtype=np.int64),
        chunk_C4,
        frame_S5,
        scores_S2,
        _text(b"".join(fasta)),
    )


def encode_shard(shard: Shard) -> bytes:
    """Return a shard as a safetensors file."""
    return safetensors.numpy.save(shard._asdict())


def decode_shard(content: bytes) -> Shard:
    """Return what `encode_shard` was given."""
    return Shard(**safetensors.numpy.load(content))


def _fasta(piece: Piece, chunk_length: int) -> bytes:
    """Return the piece as FASTA, without the bases that the record's next piece repeats."""
    letters = piece.sequence
    if piece.last_chunk < piece.chunks:
        next_start = chunk_start(piece.last_chunk, piece.length, chunk_length)
        letters = letters[: next_start - piece.offset]
    head = f">{piece.header}\n" if piece.first_chunk == 0 else ""
    tail = "\n" if piece.last_chunk == piece.chunks else ""
    return f"{head}{letters}{tail}".encode()


def _text(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, dtype=np.uint8)
