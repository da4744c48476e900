"""Unaligned BAM, read by htslib (https://github.com/pysam-developers/pysam)."""

import os
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pysam

from virnucpro.sequences.decompression import ByteStream
from virnucpro.sequences.records import RecordError

_PUMPED_BYTES = 1 << 16
#: Seconds to wait for the reading thread when a file is closed.
_CLOSING_SECONDS = 5.0
#: Complements of the letters of BAM; other letters are their own complements.
_COMPLEMENT = str.maketrans("ACGTMRYKVHDB", "TGCAKYRMBDHV")
#: The highest quality that FASTQ can represent.
_HIGHEST_QUALITY = 93
_AS_LETTERS = bytes((number + 33) % 256 for number in range(256))
_AS_NUMBERS = bytes((letter - 33) % 256 for letter in range(256))


class BamStream:
    """The alignments of a BAM file.

    htslib reads only from a file descriptor, but detecting BAM has already consumed some bytes of
    standard input. A thread therefore writes the content into a pipe, from which htslib reads.

    Args:
        content: the decompressed bytes of the file.

    Attributes:
        header: the header of the file.

    Raises:
        Exception: any exception of reading the content, and OSError if the file is damaged or not
            BAM; also raised while iterating.
    """

    def __init__(self, content: ByteStream) -> None:
        pysam.set_verbosity(0)  # htslib writes to the terminal itself
        self._failure: Exception | None = None
        readable, writable = os.pipe()
        self._pump = threading.Thread(target=self._write, args=(content, writable), daemon=True)
        self._pump.start()
        self._pipe = os.fdopen(readable, "rb", buffering=0)
        try:
            with self._failures():
                self._file = pysam.AlignmentFile(self._pipe, "rb", check_sq=False)
        except BaseException:
            self._let_go()
            raise
        self.header = self._file.header

    def _write(self, content: ByteStream, writable: int) -> None:
        """Write the content into the pipe until its end, or until the reader closes the pipe."""
        with suppress(BrokenPipeError), os.fdopen(writable, "wb") as pipe:
            try:
                while data := content.read(_PUMPED_BYTES):
                    pipe.write(data)
            except BrokenPipeError:
                raise
            except Exception as error:  # noqa: BLE001 (raised where the alignments are read)
                self._failure = error

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise the exception of reading the content if there is one, else that of htslib.

        The writing thread stores its exception before it closes the pipe, so that the exception is
        known by the time that htslib finds the pipe ending early.
        """
        try:
            yield
        except (OSError, ValueError) as error:
            raise self._failure or OSError(str(error)) from error

    def __iter__(self) -> Iterator[pysam.AlignedSegment]:
        while True:
            with self._failures():
                found = next(self._file, None)
            if found is None:
                break
            yield found
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop reading."""
        self._file.close()
        self._let_go()

    def _let_go(self) -> None:
        self._pipe.close()
        self._pump.join(_CLOSING_SECONDS)


def is_extra(alignment: pysam.AlignedSegment) -> bool:
    """Return whether this is a further alignment of a read that has a line of its own."""
    return alignment.is_secondary or alignment.is_supplementary


def name_of(alignment: pysam.AlignedSegment) -> str:
    """Return the name of a read.

    Raises:
        RecordError: the name cannot be printed.
    """
    try:
        name = alignment.query_name or ""
    except UnicodeDecodeError as error:
        raise RecordError(f"a name cannot be printed: {error.object!r}") from error
    if not name.isprintable():
        raise RecordError(f"a name cannot be printed: {name!r}")
    return name


def mate_number(alignment: pysam.AlignedSegment) -> int:
    """Return 1 or 2 for a mate of a pair, 0 for an unpaired read.

    Raises:
        RecordError: the flag marks a paired read as neither mate, or as both.
    """
    if not alignment.is_paired:
        return 0
    if alignment.is_read1 == alignment.is_read2:
        raise RecordError(
            f"{name_of(alignment)}: flag {alignment.flag} marks a mate, but not as first or second"
        )
    return 1 if alignment.is_read1 else 2


def letters_as_read(alignment: pysam.AlignedSegment) -> tuple[str, str]:
    """Return bases and qualities in the direction of sequencing; qualities may be empty.

    Raises:
        RecordError: a quality is higher than FASTQ can represent.
    """
    letters = alignment.query_sequence or ""
    numbers = bytes(alignment.query_qualities or b"")
    if numbers and max(numbers) > _HIGHEST_QUALITY:
        raise RecordError(f"{name_of(alignment)}: has qualities above {_HIGHEST_QUALITY}")
    qualities = numbers.translate(_AS_LETTERS).decode()
    if alignment.is_reverse:
        return letters.translate(_COMPLEMENT)[::-1], qualities[::-1]
    return letters, qualities


def set_qualities(alignment: pysam.AlignedSegment, qualities: str) -> None:
    """Set the qualities of a read from letters as in FASTQ."""
    alignment.query_qualities = array("B", qualities.encode().translate(_AS_NUMBERS))
