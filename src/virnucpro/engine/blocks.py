"""Blocks: runs of consecutive records, the unit of work.

Where a block ends depends on the input alone, so every run over the same input, on any devices,
cuts the same blocks. A record with more chunks than a block holds is spread over several blocks.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from virnucpro.sequences import Record, SequenceFile, chunk_count
from virnucpro.sequences.chunking import chunk_start
from virnucpro.sequences.reader import STDIN, Kind, foreign_problem

#: Chunks of a block: enough for some passes of a GPU, few enough that a kill loses seconds and
#: that devices end together.
DEFAULT_BLOCK_CHUNKS = 2048
#: FASTA files are read anew to name a line, so only this many messages of a run name one.
_LINES_NAMED = 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive chunks of one record; nearly always all of them.

    Attributes:
        record: number of the record in the run, from 0.
        header: its whole header.
        length: its bases.
        chunks: chunks of the whole record.
        first_chunk: number of this piece's first chunk, from 0.
        last_chunk: one past this piece's last chunk.
        offset: where `sequence` starts on the record.
        sequence: the letters that the piece's chunks cover, as in the file.
        problem: why the record cannot be processed, empty where it can.
    """

    record: int
    header: str
    length: int
    chunks: int
    first_chunk: int
    last_chunk: int
    offset: int
    sequence: str
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the piece is the whole record."""
        return self.last_chunk - self.first_chunk == self.chunks


@dataclass(slots=True)
class Block:
    """The unit of work.

    Attributes:
        index: number of the block in the run, from 0.
        pieces: its records.
        bytes_read: how far into the input files the reader was when it cut the block.
    """

    index: int
    pieces: list[Piece] = field(default_factory=list)
    bytes_read: int = 0

    def digest(self) -> bytes:
        """Return the sha256 of the records' headers and letters."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            place = f"\n{piece.first_chunk} {piece.last_chunk} {piece.length}\n"
            digest.update(f">{piece.header}{place}{piece.sequence}\n".encode())
        return digest.digest()


def cut_blocks(
    paths: Sequence[str], chunk_length: int, block_chunks: int = DEFAULT_BLOCK_CHUNKS
) -> Iterator[Block]:
    """Read files one after the other and cut their records into blocks.

    Args:
        paths: FASTA or FASTQ files, `-` for standard input.
        chunk_length: bases of a chunk.
        block_chunks: most chunks of a block; a record without chunks counts as one.

    Raises:
        InputError: when a file cannot be read.
    """
    return _gather(
        (
            (piece, max(1, piece.last_chunk - piece.first_chunk), bytes_read)
            for number, record, problem, bytes_read in _read(paths, "dna")
            for piece in _cut_record(number, record, chunk_length, block_chunks, problem)
        ),
        block_chunks,
    )


def cut_whole_records(paths: Sequence[str], kind: Kind, block_letters: int) -> Iterator[Block]:
    """Read files one after the other; every record is one piece of one chunk.

    Args:
        paths: FASTA or FASTQ files, `-` for standard input.
        kind: what the records are.
        block_letters: most letters of a block, but for a longer record.

    Raises:
        InputError: when a file cannot be read.
    """
    return _gather(
        (
            (whole_piece(number, record, problem), len(record.sequence), bytes_read)
            for number, record, problem, bytes_read in _read(paths, kind)
        ),
        block_letters,
    )


def records_in_blocks(
    sequences: Iterable[tuple[str, str]], kind: Kind, block_letters: int
) -> Iterator[Block]:
    """Do the same with sequences in memory, given as id and letters."""

    def piece(number: int, record: Record) -> Piece:
        problem = _problem(record, kind)
        where = f"sequence {number + 1} ({record.id})"
        return whole_piece(number, record, f"{where}: {problem}" if problem else "")

    records = (Record(header, letters) for header, letters in sequences)
    pieces = (piece(number, record) for number, record in enumerate(records))
    return _gather(((piece, piece.length, 0) for piece in pieces), block_letters)


def whole_piece(number: int, record: Record, problem: str) -> Piece:
    """Return a record as one piece of one chunk."""
    sequence = "" if problem else record.sequence
    return Piece(number, record.header, len(record.sequence), 1, 0, 1, 0, sequence, problem)


def _gather(pieces: Iterable[tuple[Piece, int, int]], most: int) -> Iterator[Block]:
    """Fill blocks.

    Args:
        pieces: each with its size and how many bytes were read for it.
        most: the largest size of a block, but for a larger piece.
    """
    block, filled = Block(0), 0
    for piece, size, bytes_read in pieces:
        if block.pieces and filled + size > most:
            yield block
            block, filled = Block(block.index + 1), 0
        block.pieces.append(piece)
        block.bytes_read = bytes_read
        filled += size
    if block.pieces:
        yield block


def input_bytes(paths: Sequence[str]) -> int:
    """Return the size of all files; 0 when one is a stream, whose size nobody knows."""
    sizes = [0 if p == STDIN or not Path(p).is_file() else Path(p).stat().st_size for p in paths]
    return sum(sizes) if all(sizes) else 0


def _read(paths: Sequence[str], kind: Kind) -> Iterator[tuple[int, Record, str, int]]:
    """Yield every record's number, the record, why it cannot be processed, and bytes read."""
    number, problems, bytes_before = 0, 0, 0
    for path in paths:
        with SequenceFile(path, kind) as file:
            for ordinal, record in enumerate(file, start=1):
                problem = _problem(record, kind)
                if problem:
                    problems += 1
                    line = file.line_of(ordinal) if problems <= _LINES_NAMED else None
                    at = f", line {line}" if line else ""
                    problem = f"{file.name}: record {ordinal} ({record.id}){at}: {problem}"
                    problem = " ".join(problem.splitlines())
                yield number, record, problem, bytes_before + file.position()
                number += 1
            bytes_before += file.position()


def _problem(record: Record, kind: Kind) -> str:
    """Say why a record cannot be processed; nothing when it can."""
    if not record.sequence.rstrip("*"):
        return "has no bases" if kind == "dna" else "has no residues"
    return foreign_problem(record.sequence, kind)


def _cut_record(
    number: int, record: Record, chunk_length: int, block_chunks: int, problem: str
) -> Iterator[Piece]:
    length = len(record.sequence)
    if problem:
        yield Piece(number, record.header, length, 0, 0, 0, 0, "", problem)
        return
    chunks = chunk_count(length, chunk_length)
    for first in range(0, chunks, block_chunks):
        last = min(first + block_chunks, chunks)
        start = chunk_start(first, length, chunk_length)
        end = min(length, chunk_start(last - 1, length, chunk_length) + chunk_length)
        yield Piece(
            number, record.header, length, chunks, first, last, start, record.sequence[start:end]
        )
