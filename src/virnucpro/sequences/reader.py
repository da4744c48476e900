"""Reads FASTA, FASTQ and BAM, plain or compressed, recognised by content and not by file name."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Self, cast

from virnucpro.errors import DamagedError, InputError, reading
from virnucpro.sequences.decompression import StoredBytes, decompressed
from virnucpro.sequences.fasta_fastq import parse_fasta, parse_fastq, whole_lines
from virnucpro.sequences.records import Kind, Read, Record, RecordError, foreign_problem

if TYPE_CHECKING:
    import pysam

STDIN = "-"
#: Format of a file.
Format = Literal["fasta", "fastq", "bam"]
#: Number of records examined before a file is refused because all are of another kind.
LOOKED_AT = 1000

#: First bytes of the decompressed files of each format.
_STARTS: dict[bytes, Format] = {b">": "fasta", b"@": "fastq", b"BAM\x01": "bam"}
_SAM = "SAM text is not supported; convert it to BAM: samtools view -b"
_COMMENT = "line {} is a comment, which is not supported; remove it: grep -v '^[;#]' IN > OUT"
_UTF_16 = "is text in UTF-16; convert it to UTF-8: iconv -f UTF-16 -t UTF-8 IN > OUT"
#: First bytes of files that are not supported, with the message for each.
_REFUSED = {
    b"CRAM": "CRAM is not supported; convert it to BAM: samtools view -b",
    b"@HD\tVN:": _SAM,
    b"@SQ\tSN:": _SAM,
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff"), _UTF_16),
    **dict.fromkeys((b"#", b";"), _COMMENT),
}
_LONGEST_START = 7
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LOOK = 1 << 16


class SequenceFile:
    """An open FASTA, FASTQ or BAM file; iterate over it for its records.

    Args:
        path: a file, or `-` for standard input.
        kind: required kind of the records.

    Attributes:
        name: name of the file, for messages.
        format: format of the file; `fasta` if the file is empty.
        skipped: number of BAM lines skipped, because they are further alignments of a read that
            has a line of its own.

    Raises:
        InputError: the file is missing or has another format; while iterating: the file is damaged,
            another program writes it, or its first records are all of another kind.
    """

    def __init__(self, path: str, kind: Kind = "dna") -> None:
        self.path, self._kind = path, kind
        self.name = "standard input" if path == STDIN else path
        self.skipped = 0
        self._read, self._line = 0, 1
        self._foreign = ""
        with ExitStack() as stack:
            with reading(self.name, "give a readable file"):
                self._raw = self._open_raw(stack)
                self._stored = StoredBytes(self._raw)
            with self._failures():
                self._content = decompressed(self._stored)
                self.format = self._format()
                if self.format == "bam":
                    from virnucpro.sequences.bam import BamStream  # noqa: PLC0415 (loads htslib)

                    self._bam = BamStream(self._content)
                    stack.callback(self._bam.close)
            self._resources = stack.pop_all()

    def __str__(self) -> str:
        """Return the current position in the file, for messages."""
        return f"{self.name}: after record {self._read}"

    def _open_raw(self, stack: ExitStack) -> BinaryIO:
        if self.path == STDIN:
            if sys.stdin is None:
                raise InputError(f"{self.name}: is closed; give a file, or a pipe")
            return cast("BinaryIO", sys.stdin.buffer)
        if Path(self.path).is_dir():
            raise InputError(f"{self.name}: is a directory; give its files")
        return stack.enter_context(Path(self.path).open("rb"))

    def _format(self) -> Format:
        """Return the format; a byte order mark and blanks before the first record are skipped."""
        content = self._content
        if content.peek(_LONGEST_START).startswith(_BYTE_ORDER_MARK):
            content.read(len(_BYTE_ORDER_MARK))
        while content.peek(1)[:1].isspace():
            data = content.read(_LOOK)
            rest = data.lstrip()
            self._line += data[: len(data) - len(rest)].count(b"\n")
            content.put_back(rest)
        start = content.peek(_LONGEST_START)
        if b"\0\0\0" in (start[:6:2], start[1:6:2]) and any(start):
            raise InputError(f"{self.name}: {_UTF_16}")
        for begin, why in _REFUSED.items():
            if start.startswith(begin):
                raise InputError(f"{self.name}: {why.format(self._line)}")
        for begin, found in _STARTS.items():
            if start.startswith(begin):
                return found
        if not start:
            return "fasta"
        raise InputError(
            f"{self.name}: is not FASTA, FASTQ or BAM (line {self._line} starts with neither '>' "
            "nor '@'); give a file in one of these formats"
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn any exception of a damaged file into one line with the file, record and line."""
        try:
            with reading(self, "get the file again", DamagedError):
                try:
                    yield
                except EOFError as error:
                    what = f"{error}, after record {self._read}; is the file complete?"
                    raise DamagedError(f"{self.name}: {what}") from error
                except RecordError as error:
                    line = f", line {error.line}" if error.line else ""
                    what = f"record {self._read + 1}{line}: {error}"
                    raise DamagedError(f"{self.name}: {what}") from error
        except InputError as error:
            self._refuse_changed(error)
            raise

    def _refuse_changed(self, error: InputError | None = None) -> None:
        """Refuse a file that changed while it was read, whatever error this has caused."""
        if self._stored.has_changed:
            raise DamagedError(
                f"{self.name}: changed while it was read; rerun when nothing writes to it"
            ) from error

    def __iter__(self) -> Iterator[Record]:
        return (read.record for read in self.reads())

    def reads(self) -> Iterator[Read]:
        """Yield the records with everything that the file says about them."""
        may_be_foreign = True
        with self._failures():
            for read in self._from_bam() if self.format == "bam" else self._from_text():
                may_be_foreign = may_be_foreign and self._looks_foreign(read)
                self._read = read.number
                yield read
            if may_be_foreign:
                self._refuse_foreign()
        self._refuse_changed()

    def _from_text(self) -> Iterator[Read]:
        parse = parse_fasta if self.format == "fasta" else parse_fastq
        return parse(whole_lines(self._content, self._line), self._line)

    def _from_bam(self) -> Iterator[Read]:
        from virnucpro.sequences import bam  # noqa: PLC0415 (loads htslib)

        for alignment in self._bam:
            if bam.is_extra(alignment):
                self.skipped += 1
                continue
            name, mate = bam.name_of(alignment), bam.mate_number(alignment)
            letters, qualities = bam.letters_as_read(alignment)
            yield Read(Record(name, letters), self._read + 1, qualities, mate)

    def alignments(self) -> "Iterator[pysam.AlignedSegment]":
        """Yield every line of a BAM file unchanged."""
        with self._failures():
            yield from self._bam
        self._refuse_changed()

    @property
    def bam_header(self) -> str:
        """The header of a BAM file, as text."""
        with reading(f"{self.name}: its header", "fix the header"):
            return str(self._bam.header)

    def _looks_foreign(self, read: Read) -> bool:
        """Return whether all records up to this one may be of another kind."""
        letters = read.record.sequence
        problem = "" if read.problem else foreign_problem(letters, self._kind)
        if letters and not problem and not read.problem:
            return False
        if problem and not self._foreign:
            line = f", line {read.line + 1}" if read.line else ""
            self._foreign = f"record {read.number} ({read.record.id}){line}: {problem}"
        if read.number == LOOKED_AT:
            self._refuse_foreign()
        return read.number < LOOKED_AT

    def _refuse_foreign(self) -> None:
        """Refuse a file if all examined records are of another kind."""
        if self._foreign:
            hint = "is this protein? Give DNA" if self._kind == "dna" else "give protein"
            like = "" if self._read <= 1 else ", as in all other records checked"
            raise InputError(f"{self.name}: {self._foreign}{like}; {hint}")

    def position(self) -> int:
        """Return how many bytes of the file, as stored, have been read; 0 for a stream."""
        return self._stored.taken if self.path != STDIN and self._raw.seekable() else 0

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
