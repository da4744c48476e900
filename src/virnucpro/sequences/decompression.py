"""Reads the bytes of a file, as stored and decompressed."""

import bz2
import io
import lzma
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

try:
    from isal import igzip_lib
except ImportError:  # not available for every machine
    igzip_lib = None  # type: ignore[assignment]

#: Bytes read from a file at a time.
_CHUNK = 1 << 17
#: Memory limit for decompressing xz; `xz -9` needs 65 MiB.
_XZ_MEMORY = 1 << 29
#: The empty block at the end of every complete BGZF file.
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_LONGEST_START = 6
#: Size in bytes of the units of zero padding allowed between and after members.
_PADDING = {"gz": 1, "xz": 4}
#: First bytes of the members of each compression.
_STARTS = {
    "gz": (b"\x1f\x8b",),
    "bz2": (b"BZh",),
    "xz": (b"\xfd7zXZ\x00",),
    "zst": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
}


class _Member(Protocol):
    """Decompresses one member and checks it up to its end."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Zlib:
    """Decompresses a gzip member without isal."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def needs_input(self) -> bool:
        return not self._member.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._member.decompress(self._member.unconsumed_tail + data, max(0, max_length))


def _gzip_member() -> _Member:
    return _Zlib() if igzip_lib is None else igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)


_MEMBERS: dict[str, Callable[[], _Member]] = {
    "gz": _gzip_member,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    "zst": zstd.ZstdDecompressor,
}


class ByteStream(io.RawIOBase):
    """A stream of bytes that can be inspected before they are read."""

    def __init__(self) -> None:
        self._held = b""

    def _next(self, size: int) -> bytes:
        """Return at most `size` further bytes; empty only at the end."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Return that the stream can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; empty only at the end."""
        if size < 0:
            return self.readall()
        if not self._held:
            return self._next(size) if size else b""
        data, self._held = self._held[:size], self._held[size:]
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as bytes are available."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def peek(self, size: int) -> bytes:
        """Return at least the next `size` bytes, or all that remain, without consuming them."""
        while len(self._held) < size and (data := self._next(_CHUNK)):
            self._held += data
        return self._held

    def put_back(self, data: bytes) -> None:
        """Put bytes back, to be read again."""
        self._held = data + self._held


class StoredBytes(ByteStream):
    """The bytes of a file as stored.

    Args:
        file: the file; it must not change while it is read.

    Attributes:
        taken: number of bytes read so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self.taken = file, 0
        self._before = self._state()

    def _state(self) -> tuple[int, int] | None:
        """Return size and time of the last change; None unless this is a regular file."""
        try:
            found = os.fstat(self._file.fileno())
        except OSError:
            return None
        return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    @property
    def has_changed(self) -> bool:
        """Whether the file has changed since it was opened."""
        return self._state() != self._before

    def _next(self, size: int) -> bytes:
        read: Callable[[int], bytes | None] = self._file.read
        while (data := read(size)) is None:  # a non-blocking pipe
            waiting = select.poll()
            waiting.register(self._file.fileno(), select.POLLIN)
            waiting.poll()
        self.taken += len(data)
        return data


class DecompressedBytes(ByteStream):
    """The content of a compressed file: its members one after the other, each checked.

    Reading raises EOFError if the file ends within a member or is BGZF without the last block, and
    any exception of the libraries on damaged data.

    Args:
        stored: the compressed file.
        compression: name of the compression.
    """

    def __init__(self, stored: StoredBytes, compression: str) -> None:
        super().__init__()
        self._stored, self._compression = stored, compression
        self._member: _Member | None = None
        self._lacks_end = False

    def _next(self, size: int) -> bytes:
        while True:
            if self._member is None or self._member.eof:
                self._member = self._next_member()
                if self._member is None:
                    return b""
            data = self._stored.read(_CHUNK) if self._member.needs_input else b""
            if self._member.needs_input and not data:
                raise EOFError("the compressed data ends early")
            if found := self._member.decompress(data, size):
                return found

    def _next_member(self) -> _Member | None:
        """Return the decompressor of the next member; None if there is none."""
        if self._member is not None:
            self._stored.put_back(self._member.unused_data)
            self._pass_over_zeros()
        start = self._stored.peek(len(BGZF_END))
        if not start:
            if self._lacks_end:
                raise EOFError("the last block of a bgzip or BAM file is missing")
            return None
        if not start.startswith(_STARTS[self._compression]):
            raise OSError("other data follows the compressed data")
        self._lacks_end = _is_bgzf(start) and not start.startswith(BGZF_END)
        return _MEMBERS[self._compression]()

    def _pass_over_zeros(self) -> None:
        """Skip the zeros with which some programs pad members."""
        unit, zeros = _PADDING.get(self._compression, 0), 0
        while unit and self._stored.peek(1)[:1] == b"\0":
            data = self._stored.read(_CHUNK)
            rest = data.lstrip(b"\0")
            zeros += len(data) - len(rest)
            self._stored.put_back(rest)
        if unit and zeros % unit:
            raise OSError("the zero padding after the compressed data is incomplete")


def _is_bgzf(start: bytes) -> bool:
    """Return whether a member is a block of BGZF, the gzip variant of bgzip and BAM."""
    return start.startswith(b"\x1f\x8b\x08\x04") and start[12:14] == b"BC"


def decompressed(stored: StoredBytes) -> ByteStream:
    """Return the decompressed content of a file; its content, not its name, is decisive."""
    start = stored.peek(_LONGEST_START)
    compression = next((name for name, begin in _STARTS.items() if start.startswith(begin)), None)
    return stored if compression is None else DecompressedBytes(stored, compression)


@contextmanager
def open_content(path: str | os.PathLike[str]) -> Iterator[io.BufferedReader]:
    """Open the decompressed content of a file.

    Reading raises any exception of the libraries on damaged data. A first `peek` returns at least
    4 bytes, enough to detect the encoding.
    """
    with Path(path).open("rb") as file:
        content = decompressed(StoredBytes(file))
        content.peek(4)
        yield io.BufferedReader(content, buffer_size=_CHUNK)
