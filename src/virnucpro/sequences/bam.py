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
#: Seconds that closing a file waits for the thread that reads it.
_CLOSING_SECONDS = 5.0
#: Of the letters that BAM holds; the others are their own.
_COMPLEMENT = str.maketrans("ACGTMRYKVHDB", "TGCAKYRMBDHV")
#: The highest quality that FASTQ can write.
_HIGHEST_QUALITY = 93
_AS_LETTERS = bytes((number + 33) % 256 for number in range(256))
_AS_NUMBERS = bytes((letter - 33) % 256 for letter in range(256))


class BamStream:
    """The alignments of a BAM file.

    htslib reads from a file descriptor only, and some bytes of standard input have been read by
    the time that it is known for BAM: a thread writes the content into a pipe.

    Args:
        content: the file's bytes without their compression.

    Attributes:
        header: what the file says of itself.

    Raises:
        Exception: whatever reading the content raises, and OSError when it is no BAM or damaged;
            also while iterating.
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
        """Write the content into the pipe until it is read or nobody listens."""
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
        """Raise what went wrong first: with the content, else with what htslib makes of it.

        A failure of the content is known before the pipe ends, which is what htslib sees of it.
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
    """Tell whether it is a further alignment of a read that has another line of its own."""
    return alignment.is_secondary or alignment.is_supplementary


def name_of(alignment: pysam.AlignedSegment) -> str:
    """Return the name of a read.

    Raises:
        RecordError: when it is none that can be printed.
    """
    try:
        name = alignment.query_name or ""
    except UnicodeDecodeError as error:
        raise RecordError(f"a name cannot be printed: {error.object!r}") from error
    if not name.isprintable():
        raise RecordError(f"a name cannot be printed: {name!r}")
    return name


def mate_number(alignment: pysam.AlignedSegment) -> int:
    """Return 1 or 2 for a mate of a pair, 0 for a read that is none.

    Raises:
        RecordError: when a pair's read is neither of the two, or both.
    """
    if not alignment.is_paired:
        return 0
    if alignment.is_read1 == alignment.is_read2:
        raise RecordError(f"{name_of(alignment)}: flag {alignment.flag} says mate, but not which")
    return 1 if alignment.is_read1 else 2


def letters_as_read(alignment: pysam.AlignedSegment) -> tuple[str, str]:
    """Return bases and qualities as the sequencer gave them; no qualities where there are none.

    Raises:
        RecordError: when the qualities are beyond what FASTQ can write.
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
    """Give a read the qualities that FASTQ writes as letters."""
    alignment.query_qualities = array("B", qualities.encode().translate(_AS_NUMBERS))
