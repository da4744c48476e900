"""Cuts inputs into blocks of consecutive records, the unit of work.

The boundaries of blocks depend only on the input, so every run over the same input cuts the same
blocks on any devices. A record with more chunks than a block holds spans several blocks. The two
mates of a pair are one record: the chunks of mate 1 come before those of mate 2.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from virnucpro.sequences import Chunks, Record, chunk_count
from virnucpro.sequences.chunking import chunk_records, chunk_start
from virnucpro.sequences.fragments import (
    PLAIN,
    Fragment,
    FragmentReader,
    Mate,
    ReadOptions,
    Source,
    paths_of,
)
from virnucpro.sequences.reader import STDIN
from virnucpro.sequences.records import Kind, Read, read_problem, record_id

#: Chunks of a block: enough for several GPU batches, but few enough that a killed run loses only
#: seconds and that all devices finish at about the same time.
DEFAULT_BLOCK_CHUNKS = 2048


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive chunks of a record or of one of its mates; usually all of its chunks.

    Attributes:
        record: number of the record in the run, from 0.
        header: whole header of the record or mate.
        length: bases of the record or mate.
        chunks: chunks of the whole record or mate.
        first_chunk: number of the first chunk of this piece within the record or mate, from 0.
        last_chunk: one past the number of the last chunk.
        offset: position of `sequence` on the record or mate.
        sequence: the letters covered by the chunks of this piece, as in the file; the whole
            sequence if the record cannot be processed.
        problem: why the record or mate cannot be processed; empty if it can.
        mate: 1 or 2 for a mate of a pair; 0 for an unpaired record.
        chunks_before: number of chunks of the mate that precedes this one.
        qualities: qualities of `sequence`, if they are kept.
        pair: name of the pair; empty for an unpaired record.
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
    mate: int = 0
    chunks_before: int = 0
    qualities: str = ""
    pair: str = ""

    @property
    def id(self) -> str:
        """The id of the record."""
        return self.pair or record_id(self.header)

    @property
    def begins_record(self) -> bool:
        """Whether the record begins with this piece."""
        return self.first_chunk == 0 and self.mate != 2

    @property
    def ends_record(self) -> bool:
        """Whether the record ends with this piece."""
        return self.last_chunk == self.chunks and self.mate != 1


@dataclass(slots=True)
class Block:
    """A block of records, the unit of work.

    Attributes:
        index: number of the block in the run, from 0.
        pieces: the records, or parts of them.
        bytes_read: number of input bytes that had been read when the block was cut.
        skipped: number of BAM lines that had been skipped by then.
    """

    index: int
    pieces: list[Piece] = field(default_factory=list)
    bytes_read: int = 0
    skipped: int = 0

    def digest(self) -> bytes:
        """Return the sha256 of the records' headers, letters and qualities."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            place = f"\n{piece.first_chunk} {piece.last_chunk} {piece.length}\n"
            digest.update(f">{piece.header}{place}{piece.sequence}\n".encode())
            if piece.qualities:
                digest.update(f"{piece.qualities}\n".encode())
        return digest.digest()


def cut_blocks(
    sources: Sequence[Source],
    chunk_length: int,
    block_chunks: int = DEFAULT_BLOCK_CHUNKS,
    options: ReadOptions = PLAIN,
) -> Iterator[Block]:
    """Read inputs one after the other and cut their records into blocks.

    Args:
        sources: FASTA, FASTQ or BAM files, `-` for standard input.
        chunk_length: bases of a chunk.
        block_chunks: maximum number of chunks of a block; a record or mate without chunks counts
            as one.
        options: how the files are read.

    Raises:
        InputError: a file cannot be read.
    """
    reader = FragmentReader(sources, "dna", options)
    pieces = (
        piece
        for number, fragment in enumerate(reader)
        for piece in _cut_fragment(
            number, fragment, chunk_length, block_chunks, keeps_qualities=options.fastq
        )
    )
    sized = ((piece, max(1, piece.last_chunk - piece.first_chunk)) for piece in pieces)
    return _gather(sized, block_chunks, reader)


def cut_whole_records(sources: Sequence[Source], kind: Kind, block_letters: int) -> Iterator[Block]:
    """Read files one after the other and make each record one piece with one chunk.

    Args:
        sources: FASTA, FASTQ or BAM files, `-` for standard input.
        kind: kind of the records.
        block_letters: maximum number of letters of a block; a longer record has its own block.

    Raises:
        InputError: a file cannot be read.
    """
    reader = FragmentReader(sources, kind)
    mates = enumerate(mate for fragment in reader for mate in fragment)
    pieces = (whole_piece(number, mate.record, _problem(mate, kind)) for number, mate in mates)
    return _gather(((piece, piece.length) for piece in pieces), block_letters, reader)


def cut_sequences(
    sequences: Iterable[tuple[str, str]], kind: Kind, block_letters: int
) -> Iterator[Block]:
    """Do what `cut_whole_records` does with sequences in memory.

    Args:
        sequences: id and letters of each sequence.
        kind: kind of the sequences.
        block_letters: as for `cut_whole_records`.
    """

    def piece(number: int, record: Record) -> Piece:
        problem = read_problem(Read(record, number + 1), kind)
        where = f"sequence {number + 1} ({record.id})"
        return whole_piece(number, record, f"{where}: {problem}" if problem else "")

    records = (Record(header, letters) for header, letters in sequences)
    pieces = (piece(number, record) for number, record in enumerate(records))
    return _gather(((piece, piece.length) for piece in pieces), block_letters)


def whole_piece(number: int, record: Record, problem: str) -> Piece:
    """Return a record as one piece with one chunk."""
    sequence = "" if problem else record.sequence
    return Piece(number, record.header, len(record.sequence), 1, 0, 1, 0, sequence, problem)


def chunks_of(pieces: Sequence[Piece], chunk_length: int) -> Chunks:
    """Return the chunks of pieces, numbered within their records."""
    rows = [(p.first_chunk, p.last_chunk, p.length, p.chunks_before) for p in pieces]
    first, last, lengths, before = np.array(rows, np.int64).reshape(-1, 4).T
    chunks = chunk_records(lengths, chunk_length, first, last)
    return chunks._replace(number=chunks.number + before[chunks.record])


def _gather(
    pieces: Iterable[tuple[Piece, int]], most: int, reader: FragmentReader | None = None
) -> Iterator[Block]:
    """Gather pieces into blocks.

    Args:
        pieces: pieces with their sizes.
        most: maximum size of a block; a larger piece has its own block.
        reader: the reader from which `pieces` reads lazily, for the position in the input.
    """
    block, filled = Block(0), 0
    for piece, size in pieces:
        if block.pieces and filled + size > most:
            yield block
            block, filled = Block(block.index + 1), 0
        block.pieces.append(piece)
        filled += size
        if reader is not None:
            block.bytes_read, block.skipped = reader.bytes_read, reader.skipped
    if block.pieces:
        block.skipped = (
            0 if reader is None else reader.skipped
        )  # includes lines after the last record
        yield block


def input_bytes(sources: Sequence[Source]) -> int:
    """Return the total size of the files; 0 if one is a stream of unknown size."""
    paths = paths_of(sources)
    sizes = [0 if p == STDIN or not Path(p).is_file() else Path(p).stat().st_size for p in paths]
    return sum(sizes) if all(sizes) else 0


def _problem(mate: Mate, kind: Kind) -> str:
    """Return where a record is and why it cannot be processed; empty if it can."""
    problem = read_problem(mate.read, kind)
    return " ".join(f"{mate.place()}: {problem}".splitlines()) if problem else ""


def _cut_fragment(
    number: int,
    fragment: Fragment,
    chunk_length: int,
    block_chunks: int,
    *,
    keeps_qualities: bool,
) -> Iterator[Piece]:
    before = 0
    for mate in fragment:
        header, letters = mate.record
        qualities = mate.read.qualities if keeps_qualities else ""
        length, problem = len(letters), _problem(mate, "dna")
        chunks = 0 if problem else chunk_count(length, chunk_length)
        for first in range(0, max(1, chunks), block_chunks):
            last, start, end = min(first + block_chunks, chunks), 0, length
            if chunks:
                start = chunk_start(first, length, chunk_length)
                end = min(length, chunk_start(last - 1, length, chunk_length) + chunk_length)
            yield Piece(
                number, header, length, chunks, first, last, start, letters[start:end],
                problem, mate.mate, before, qualities[start:end], mate.pair,
            )  # fmt: skip
        before += chunks
