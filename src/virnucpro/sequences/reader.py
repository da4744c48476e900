"""FASTA, FASTQ and BAM, plain or compressed, recognised by content and never by file name."""

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Self, cast

import dnaio
from xopen import xopen

from virnucpro.errors import DamagedError, InputError
from virnucpro.sequences.ids import printable_id
from virnucpro.sequences.nucleotides import foreign_letters
from virnucpro.sequences.proteins import foreign_residues
from virnucpro.sequences.streams import (
    BGZF_END,
    LONGEST_MAGIC,
    AsciiStream,
    Chained,
    compression_of,
    is_bgzf,
    read_some,
    unescape,
)

if TYPE_CHECKING:
    import pysam

STDIN = "-"
#: What the records of a file are.
Kind = Literal["protein", "dna"]
#: How they are written.
Format = Literal["fasta", "fastq", "bam"]

#: Letters of a parser's reason that a message quotes.
_LONGEST_REASON = 200
#: How files begin, without their compression.
_STARTS: dict[bytes, Format] = {b">": "fasta", b"@": "fastq", b"BAM\x01": "bam"}
#: What is not read begins with these.
_REFUSED = {
    b"CRAM": "CRAM is not read; make it BAM: samtools view -b",
    b"@HD\tVN:": "SAM text is not read; make it BAM: samtools view -b",
    b"@SQ\tSN:": "SAM text is not read; make it BAM: samtools view -b",
}
_LONGEST_START = 7


class Record(NamedTuple):
    """One sequence of an input file.

    Attributes:
        header: the whole header line without its first character; of BAM the name.
        sequence: its letters as in the file, line breaks removed; of BAM as they were read.
    """

    header: str
    sequence: str

    @property
    def id(self) -> str:
        """The header's first word."""
        return record_id(self.header)


class Read(NamedTuple):
    """A record with all that its file says of it.

    Attributes:
        record: header and letters.
        number: of the record in the file, from 1.
        qualities: of each letter, as FASTQ writes them; empty where there are none.
        mate: 1 or 2 where the file itself says which of a pair it is, as BAM does; else 0.
    """

    record: Record
    number: int
    qualities: str = ""
    mate: int = 0


def foreign_problem(sequence: str, kind: Kind) -> str:
    """Say which letters of a record are not of its kind; nothing where all are."""
    foreign = foreign_letters(sequence) if kind == "dna" else foreign_residues(sequence)
    what = "nucleotides" if kind == "dna" else "residues"
    return f"letters that are not {what} ({foreign[:12]!r})" if foreign else ""


def record_id(header: str) -> str:
    """Return the first word of a header, printable, or `unnamed` where there is none."""
    words = header.split(maxsplit=1)
    return printable_id(words[0]) if words else "unnamed"


class SequenceFile:
    """An open FASTA, FASTQ or BAM file; iterate over it for its records.

    Args:
        path: a file, or `-` for standard input.
        kind: what its records should be.

    Attributes:
        name: for messages.
        format: how its records are written; FASTA where there are none.
        skipped: lines of BAM passed over, because they are further alignments of a read that has
            a line of its own.

    Raises:
        InputError: when the file is missing or of none of these formats; while iterating, when it
            is damaged or its first record is not of that kind.
    """

    def __init__(self, path: str, kind: Kind = "dna") -> None:
        self.path, self._kind = path, kind
        self.name = "standard input" if path == STDIN else path
        self.skipped = 0
        self._read = 0
        with ExitStack() as stack:
            try:
                self._raw = self._open_raw(stack)
                self.format, content = self._open_content(stack)
            except (OSError, ValueError) as error:  # ValueError: of a name with a NUL
                reason = getattr(error, "strerror", None) or str(error)
                raise InputError(
                    f"{self.name}: cannot be read ({reason}); give a file that can"
                ) from error
            self._open_parser(stack, content)
            self._resources = stack.pop_all()

    def _open_raw(self, stack: ExitStack) -> io.BufferedReader:
        if self.path == STDIN:
            if sys.stdin is None:
                raise InputError(f"{self.name}: is closed; give a file, or a pipe")
            return cast("io.BufferedReader", sys.stdin.buffer)
        if Path(self.path).is_dir():
            raise InputError(f"{self.name}: is a directory; give its files")
        return stack.enter_context(Path(self.path).open("rb"))

    def _open_content(self, stack: ExitStack) -> tuple[Format, BinaryIO]:
        """Undo the compression and look how the content begins."""
        magic = self._raw.read(LONGEST_MAGIC)
        compression, self._ends_marked = compression_of(magic), is_bgzf(magic)
        self._stored = Chained(magic, self._raw)
        content = cast("BinaryIO", io.BufferedReader(self._stored, buffer_size=1 << 17))
        if compression is not None:
            content = stack.enter_context(xopen(content, "rb", threads=0, format=compression))
        with self._damage_named():
            start = read_some(content, _LONGEST_START)
        if not start:
            return "fasta", content
        if start in _REFUSED or start[:4] in _REFUSED:
            raise InputError(f"{self.name}: {_REFUSED.get(start) or _REFUSED[start[:4]]}")
        fmt = _STARTS.get(start[:1]) or _STARTS.get(start[:4])
        if fmt is None:
            raise InputError(
                f"{self.name}: neither FASTA nor FASTQ (line 1 starts with neither '>' nor '@'), "
                "nor BAM; give one that is"
            )
        return fmt, cast("BinaryIO", Chained(start, content))

    def _open_parser(self, stack: ExitStack, content: BinaryIO) -> None:
        """Give the content to what reads its format."""
        if self.format != "bam":
            self._stream = io.BufferedReader(AsciiStream(content), buffer_size=1 << 17)
            return
        from virnucpro.sequences.bam import BamStream  # noqa: PLC0415 (loads htslib)

        with self._damage_named():
            self._bam = BamStream(content)
        stack.callback(self._bam.close)

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn what a damaged file raises into one line with the file, record and line."""
        try:
            yield
        except dnaio.FileFormatError as error:
            line = f", line {error.line + 1}" if error.line is not None else ""
            what = shorten(str(error.message), _LONGEST_REASON)
            raise DamagedError(f"{self.name}: record {self._read + 1}{line}: {what}") from error
        except EOFError as error:
            raise DamagedError(
                f"{self.name}: the compressed data ends early, after record {self._read}; "
                "is the file complete?"
            ) from error
        except OSError as error:
            raise DamagedError(
                f"{self.name}: damaged after record {self._read} ({error}); get it anew"
            ) from error

    def __iter__(self) -> Iterator[Record]:
        return (read.record for read in self.reads())

    def reads(self) -> Iterator[Read]:
        """Yield the records with all that the file says of them."""
        for read in self._from_bam() if self.format == "bam" else self._from_text():
            if self._read == 0:
                self._refuse_foreign(read.record)
            self._read += 1
            yield read

    def _from_text(self) -> Iterator[Read]:
        with self._damage_named():
            for found in dnaio.open(self._stream, fileformat=self.format):
                record = Record(unescape(found.name), unescape(found.sequence))
                yield Read(record, self._read + 1, found.qualities or "")

    def _from_bam(self) -> Iterator[Read]:
        from virnucpro.sequences import bam  # noqa: PLC0415 (loads htslib)

        for alignment in self.alignments():
            if bam.is_extra(alignment):
                self.skipped += 1
                continue
            with self._damage_named():
                name, mate = bam.name_of(alignment), bam.mate_number(alignment)
                letters, qualities = bam.letters_as_read(alignment)
            yield Read(Record(name, letters), self._read + 1, qualities, mate)

    def alignments(self) -> "Iterator[pysam.AlignedSegment]":
        """Yield every line of a BAM file as it is."""
        with self._damage_named():
            yield from self._bam
        if self._ends_marked and self._stored.tail != BGZF_END:
            raise DamagedError(
                f"{self.name}: the end that BAM files have is missing after record {self._read}; "
                "is the file complete?"
            )

    @property
    def bam_header(self) -> str:
        """What a BAM file says of itself, as text."""
        try:
            return str(self._bam.header)
        except UnicodeDecodeError as error:
            raise InputError(f"{self.name}: its header is no text; mend it") from error

    def _refuse_foreign(self, record: Record) -> None:
        """Refuse a file whose first record is of another kind: most likely all of them are."""
        problem = foreign_problem(record.sequence, self._kind)
        if problem:
            line = "" if self.format == "bam" else ", line 2"
            hint = "; is this protein? Give DNA" if self._kind == "dna" else "; give protein"
            raise InputError(f"{self.name}: record 1 ({record.id}){line}: {problem}{hint}")

    def position(self) -> int:
        """Return how many bytes of the file, as stored, have been read; 0 for a stream."""
        return self._stored.taken if self.path != STDIN and self._raw.seekable() else 0

    def line_of(self, number: int) -> int | None:
        """Return the line (from 1) on which record `number` (from 1) starts.

        Reads a FASTA file anew from its beginning, so it is for messages only. None when that
        cannot be told, as in FASTA from a stream or in BAM.
        """
        if self.format == "fastq":
            return 4 * number - 3
        if self.format == "bam" or not Path(self.path).is_file():
            return None
        with SequenceFile(self.path, self._kind) as again:
            starts = (i for i, text in enumerate(again._stream, 1) if text.startswith(b">"))
            return next(islice(starts, number - 1, None), None)

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
