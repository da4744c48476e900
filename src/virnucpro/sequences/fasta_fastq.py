"""Parses FASTA and FASTQ."""

import re
from collections.abc import Iterator
from itertools import chain

from virnucpro.sequences.decompression import ByteStream
from virnucpro.sequences.records import Read, Record, RecordError

_CHUNK = 1 << 18
_BLANKS = " \t"
_INDENT = re.compile(r"\n[ \t]+")
#: Marks a missing line; no real line contains a line break.
_NONE = "\n"
#: Replaces a quality that cannot be read: the lowest one.
_NO_QUALITY = "!"
_UNWRAP = "FASTQ has four lines per record; if yours is wrapped: seqtk seq -l 0 IN.fq > OUT.fq"


def whole_lines(content: ByteStream, line: int) -> Iterator[str]:
    """Yield a file as texts of whole lines, each line preceded by its line break.

    Every byte is decoded as one letter (Latin-1), so no content of a line can shift others.

    Args:
        content: the file, positioned at the start of a line.
        line: number of that line.

    Raises:
        RecordError: a line contains a carriage return.
    """
    kept = [b"\n"]
    while data := content.read(_CHUNK):
        head, line_break, tail = data.rpartition(b"\n")
        if not line_break:
            kept.append(data)
            if b"\r" in data[:-1]:
                raise _carriage_return(line)
            continue
        kept.append(head)
        lines = sum(part.count(b"\n") for part in kept)
        yield _text(kept, line)
        line += lines
        kept = [line_break, tail]
    yield _text(kept, line)


def _text(kept: list[bytes], line: int) -> str:
    """Join parts of text; the parts, which can be large, are released at once."""
    joined = b"".join(kept)
    kept.clear()
    if b"\r" in joined:
        joined = joined.replace(b"\r\n", b"\n").removesuffix(b"\r")
        before, found, _ = joined.partition(b"\r")
        if found:
            raise _carriage_return(line + before.count(b"\n") - 1)
    return joined.decode("latin-1")


def _carriage_return(line: int) -> RecordError:
    return RecordError(
        "has a carriage return within the line; if all lines end in one: tr '\\r' '\\n' < IN > OUT",
        line,
    )


def parse_fasta(texts: Iterator[str], line: int) -> Iterator[Read]:
    """Yield the records of FASTA; blank lines, and blanks around a line, are skipped.

    Args:
        texts: the file from its first `>`, as `whole_lines` yields it.
        line: number of its first line.
    """
    header, begins, number = "", 0, 0
    parts: list[str] = []
    for text in texts:
        is_indented = any(f"\n{blank}" in text for blank in _BLANKS)
        pieces = (_INDENT.sub("\n", text) if is_indented else text).split("\n>")
        del text  # the sequence may be long
        pieces.reverse()
        line += pieces[-1].count("\n")
        parts.append(_letters(pieces.pop()))  # of the record before
        while pieces:
            if begins:
                number += 1
                yield _read(header, "".join(parts), number, line=begins)
            begins = line
            line += 1 + pieces[-1].count("\n")
            header, _, body = pieces.pop().partition("\n")
            parts = [_letters(body)]
    if begins:
        yield _read(header, "".join(parts), number + 1, line=begins)


def _letters(lines: str) -> str:
    if any(blank in lines for blank in _BLANKS):
        lines = "\n".join([line.strip(_BLANKS) for line in lines.split("\n")])
    return lines.replace("\n", "")


def parse_fastq(texts: Iterator[str], line: int) -> Iterator[Read]:
    """Yield the records of FASTQ; blank lines between records are skipped.

    Args:
        texts: the file from its first `@`, as `whole_lines` yields it.
        line: number of its first line.

    Raises:
        RecordError: a record does not consist of four valid lines.
    """
    lines = chain.from_iterable(text.split("\n")[1:] for text in texts)
    number, line = 0, line - 1
    for header in lines:
        line += 1
        if header[:1] != "@":
            if header.strip(_BLANKS):
                raise RecordError(f"does not begin with '@'; {_UNWRAP}", line)
            continue
        letters, plus, qualities = next(lines, _NONE), next(lines, _NONE), next(lines, _NONE)
        if (
            qualities is _NONE
            or len(letters) != len(qualities)
            or (plus != "+" and plus != f"+{header[1:]}")
        ):
            found = [text for text in (letters, plus, qualities) if text is not _NONE]
            raise _no_record(found, line)
        number += 1
        yield _read(header[1:], letters, number, qualities, line)
        line += 3


def _no_record(following: list[str], line: int) -> RecordError:
    """Return the error of a record whose header, on this line, is followed by these lines."""
    if len(following) > 1 and following[1] and following[1][0] != "+":
        return RecordError(f"does not begin with '+'; {_UNWRAP}", line + 2)
    if len(following) < 3:
        return RecordError(
            "the file ends within the record; is it complete?", line + len(following)
        )
    bases, qualities = len(following[0]), len(following[2])
    if bases == qualities:
        return RecordError("names a different record than the header line", line + 2)
    what = f"{qualities:,} qualities for {bases:,} bases; is the file complete?"
    return RecordError(f"{what} {_UNWRAP}", line + 3)


def _read(header: str, letters: str, number: int, qualities: str = "", line: int = 0) -> Read:
    """Return a record; bytes that are not ASCII are decoded as UTF-8 only in its header.

    In the sequence each of them remains one letter, so that the record can be written unchanged.
    """
    header, problem = header.rstrip(_BLANKS), ""
    if header.isascii() and letters.isascii() and qualities.isascii():
        return Read(Record(header, letters), number, qualities, 0, line)
    if not header.isascii():
        header = header.encode("latin-1").decode("utf-8", errors="backslashreplace")
    if not letters.isascii():
        problem = "bytes among its letters that are not ASCII"
    if not qualities.isascii():
        qualities = "".join([q if q.isascii() else _NO_QUALITY for q in qualities])
        problem = problem or "bytes among its qualities that are not ASCII"
    return Read(Record(header, letters), number, qualities, 0, line, problem)
