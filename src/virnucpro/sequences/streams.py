"""Bytes of a file on their way to a parser: compression, what has been peeked at, odd letters."""

import io
from typing import BinaryIO

_COMPRESSIONS = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
#: Bytes that tell a compression, and BGZF from other gzip.
LONGEST_MAGIC = 16
#: The empty block that ends every whole BGZF file.
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
#: Begins the two hexadecimal digits of a byte that is not ASCII, while dnaio parses the record.
_ESCAPE = b"\x1a"
_ESCAPE_LETTER = _ESCAPE.decode()


def compression_of(magic: bytes) -> str | None:
    """Return the compression that a file's first bytes tell; None where there is none."""
    return next((name for start, name in _COMPRESSIONS.items() if magic.startswith(start)), None)


def is_bgzf(magic: bytes) -> bool:
    """Tell whether a file's first bytes are those of BGZF, the gzip of BAM."""
    return magic.startswith(b"\x1f\x8b\x08\x04") and magic[12:14] == b"BC"


class Chained(io.RawIOBase):
    """What has been read of a stream already, and then its rest.

    Attributes:
        taken: bytes handed on.
        tail: the last of them, as many as BGZF's end has.
    """

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest
        self.taken, self.tail = 0, b""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Hand on what comes next."""
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        self.taken += len(data)
        self.tail = (self.tail + data[-len(BGZF_END) :])[-len(BGZF_END) :]
        buffer[: len(data)] = data
        return len(data)


class AsciiStream(io.RawIOBase):
    """A binary stream with every byte above 127 escaped, since dnaio takes ASCII only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pending = b""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Hand on what comes next."""
        data = self._pending or _escaped(read_some(self._stream, len(buffer)))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        self._pending = data[size:]
        return size


def read_some(stream: BinaryIO, size: int) -> bytes:
    """Read at most `size` bytes; whatever a damaged file raises becomes an OSError or EOFError."""
    try:
        return stream.read(size)
    except (OSError, EOFError):
        raise
    except Exception as error:
        raise OSError(str(error)) from error


def _escaped(data: bytes) -> bytes:
    if data.isascii() and _ESCAPE not in data:
        return data
    return b"".join(
        b"%c" % byte if byte < 128 and byte != _ESCAPE[0] else b"%s%02x" % (_ESCAPE, byte)
        for byte in data
    )


def unescape(text: str) -> str:
    """Return what `AsciiStream` made of a text."""
    if _ESCAPE_LETTER not in text:
        return text
    head, *parts = text.encode().split(_ESCAPE)
    raw = head + b"".join(bytes.fromhex(part[:2].decode()) + part[2:] for part in parts)
    return raw.decode("utf-8", errors="backslashreplace")
