"""FASTA and FASTQ, plain or compressed, recognised by content and never by file name."""

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import BinaryIO, Literal, NamedTuple, Self, cast

import dnaio
from xopen import xopen

from virnucpro.errors import InputError
from virnucpro.sequences.nucleotides import foreign_letters
from virnucpro.sequences.proteins import foreign_residues

STDIN = "-"
#: What the records of a file are.
Kind = Literal["protein", "dna"]

_COMPRESSIONS = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
_LONGEST_MAGIC = 6
#: Letters of a parser's reason that a message quotes.
_LONGEST_REASON = 200
#: Begins the two hexadecimal digits of a byte that is not ASCII, while dnaio parses the record.
_ESCAPE = b"\x1a"


class Record(NamedTuple):
    """One sequence of an input file.

    Attributes:
        header: the whole header line without its first character.
        sequence: its letters as in the file, line breaks removed.
    """

    header: str
    sequence: str

    @property
    def id(self) -> str:
        """The header's first word."""
        return record_id(self.header)


def foreign_problem(sequence: str, kind: Kind) -> str:
    """Say which letters of a record are not of its kind; nothing where all are."""
    foreign = foreign_letters(sequence) if kind == "dna" else foreign_residues(sequence)
    what = "nucleotides" if kind == "dna" else "residues"
    return f"letters that are not {what} ({foreign[:12]!r})" if foreign else ""


def record_id(header: str) -> str:
    """Return the first word of a header, or `unnamed` where there is none."""
    words = header.split(maxsplit=1)
    return words[0] if words else "unnamed"


class _AsciiStream(io.RawIOBase):
    """A binary stream with every byte above 127 escaped, since dnaio takes ASCII only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._pending or self._read(len(buffer))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        self._pending = data[size:]
        return size

    def _read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (OSError, EOFError):
            raise
        except Exception as error:
            raise OSError(str(error)) from error
        if data.isascii() and _ESCAPE not in data:
            return data
        return b"".join(
            b"%c" % byte if byte < 128 and byte != _ESCAPE[0] else b"%s%02x" % (_ESCAPE, byte)
            for byte in data
        )


class _Chained(io.RawIOBase):
    """What has been read of a stream already, and then its rest."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head or self._rest.read(len(buffer))
        self._head = b""
        buffer[: len(data)] = data
        return len(data)


def _unescape(header: str) -> str:
    head, *parts = header.encode().split(_ESCAPE)
    if not parts:
        return header
    raw = head + b"".join(bytes.fromhex(part[:2].decode()) + part[2:] for part in parts)
    return raw.decode("utf-8", errors="backslashreplace")


class SequenceFile:
    """An open FASTA or FASTQ file; iterate over it for its records.

    Args:
        path: a file, or `-` for standard input.
        kind: what its records should be.

    Raises:
        InputError: when the file is missing, empty or neither FASTA nor FASTQ; while
            iterating, when it is damaged or its first record is not of that kind.
    """

    def __init__(self, path: str, kind: Kind = "dna") -> None:
        self.path, self._kind = path, kind
        self.name = "standard input" if path == STDIN else path
        self._read = 0
        with ExitStack() as stack:
            try:
                self._raw = self._open_raw(stack)
                stream, fmt = self._open_content(stack)
            except OSError as error:
                reason = error.strerror or str(error)
                raise InputError(
                    f"{self.name}: cannot be read ({reason}); give a file that can"
                ) from error
            self._stream, self._format = stream, fmt
            self._resources = stack.pop_all()

    def _open_raw(self, stack: ExitStack) -> io.BufferedReader:
        if self.path == STDIN:
            return cast("io.BufferedReader", sys.stdin.buffer)
        if Path(self.path).is_dir():
            raise InputError(f"{self.name}: is a directory; give its files")
        return stack.enter_context(Path(self.path).open("rb"))

    def _open_content(self, stack: ExitStack) -> "tuple[io.BufferedReader[_AsciiStream], str]":
        """Undo the compression, look at the first letter and tell FASTA from FASTQ."""
        magic = self._raw.read(_LONGEST_MAGIC)
        if not magic:
            raise InputError(f"{self.name}: the file is empty; give one with records")
        compression = next((c for m, c in _COMPRESSIONS.items() if magic.startswith(m)), None)
        chained = io.BufferedReader(_Chained(magic, self._raw), buffer_size=1 << 17)
        content = cast("BinaryIO", chained)
        if compression is not None:
            content = stack.enter_context(xopen(content, "rb", threads=0, format=compression))
        stream = io.BufferedReader(_AsciiStream(content), buffer_size=1 << 17)
        with self._damage_named():
            first = stream.peek(1)[:1]
        if not first:
            raise InputError(f"{self.name}: the file is empty; give one with records")
        if first not in b">@":
            raise InputError(
                f"{self.name}: neither FASTA nor FASTQ (line 1 starts with neither '>' nor '@'); "
                "give one that is"
            )
        return stream, "fastq" if first == b"@" else "fasta"

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn what a damaged file raises into one line with the file, record and line."""
        try:
            yield
        except dnaio.FileFormatError as error:
            line = f", line {error.line + 1}" if error.line is not None else ""
            what = shorten(str(error.message), _LONGEST_REASON)
            raise InputError(f"{self.name}: record {self._read + 1}{line}: {what}") from error
        except EOFError as error:
            raise InputError(
                f"{self.name}: the compressed data ends early, after record {self._read}; "
                "is the file complete?"
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.name}: damaged after record {self._read} ({error}); get it anew"
            ) from error

    def __iter__(self) -> Iterator[Record]:
        with self._damage_named():
            reader = iter(dnaio.open(self._stream, fileformat=self._format))
        while True:
            with self._damage_named():
                found = next(reader, None)
            if found is None:
                return
            record = Record(_unescape(found.name), found.sequence)
            if self._read == 0:
                self._refuse_foreign(record)
            self._read += 1
            yield record

    def _refuse_foreign(self, record: Record) -> None:
        """Refuse a file whose first record is of another kind: most likely all of them are."""
        problem = foreign_problem(record.sequence, self._kind)
        if problem:
            hint = "; is this protein? Give DNA" if self._kind == "dna" else "; give protein"
            raise InputError(f"{self.name}: record 1 ({record.id}), line 2: {problem}{hint}")

    def position(self) -> int:
        """Return how many bytes of the file, as stored, have been read; 0 for a stream."""
        return self._raw.tell() if self.path != STDIN and self._raw.seekable() else 0

    def line_of(self, number: int) -> int | None:
        """Return the line (from 1) on which record `number` (from 1) starts.

        Reads a FASTA file anew from its beginning, so it is for messages only. None when that
        cannot be told, as in FASTA from a stream.
        """
        if self._format == "fastq":
            return 4 * number - 3
        if not Path(self.path).is_file():
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
