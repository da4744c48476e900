"""The bytes of a file: as they are stored, and without their compression."""

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
except ImportError:  # it is not made for every machine
    igzip_lib = None  # type: ignore[assignment]

#: ByteStream that are read of a file at a time.
_CHUNK = 1 << 17
#: Most memory that an xz file may ask for; `xz -9` asks for 65 MiB.
_XZ_MEMORY = 1 << 29
#: The empty block that ends every whole BGZF file.
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_LONGEST_START = 6
#: What may stand between members and after the last one: zeros, in units of so many bytes.
_PADDING = {"gz": 1, "xz": 4}
#: How the members of each compression begin.
_STARTS = {
    "gz": (b"\x1f\x8b",),
    "bz2": (b"BZh",),
    "xz": (b"\xfd7zXZ\x00",),
    "zst": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
}


class _Member(Protocol):
    """Undoes the compression of one member and checks it to its end."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Zlib:
    """A gzip member, where there is no isal."""

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
    """ByteStream that come one after the other and can be looked at before they are read."""

    def __init__(self) -> None:
        self._held = b""

    def _next(self, size: int) -> bytes:
        """Return at most `size` bytes more; nothing at the end only."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; nothing at the end only."""
        if size < 0:
            return self.readall()
        if not self._held:
            return self._next(size) if size else b""
        data, self._held = self._held[:size], self._held[size:]
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as there is something."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def peek(self, size: int) -> bytes:
        """Return at least `size` bytes of those that come next, or all; they can still be read."""
        while len(self._held) < size and (data := self._next(_CHUNK)):
            self._held += data
        return self._held

    def put_back(self, data: bytes) -> None:
        """Let what was read be read again."""
        self._held = data + self._held


class StoredBytes(ByteStream):
    """The bytes of a file as they are stored.

    Args:
        file: must stay as it is while it is read.

    Attributes:
        taken: bytes that were read of it.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self.taken = file, 0
        self._before = self._state()

    def _state(self) -> tuple[int, int] | None:
        """Return size and time of the last change; None of what is no regular file."""
        try:
            found = os.fstat(self._file.fileno())
        except OSError:
            return None
        return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    @property
    def has_changed(self) -> bool:
        """Whether somebody wrote the file since it was opened."""
        return self._state() != self._before

    def _next(self, size: int) -> bytes:
        read: Callable[[int], bytes | None] = self._file.read
        while (data := read(size)) is None:  # of a pipe that does not wait by itself
            waiting = select.poll()
            waiting.register(self._file.fileno(), select.POLLIN)
            waiting.poll()
        self.taken += len(data)
        return data


class DecompressedBytes(ByteStream):
    """The content of a compressed file: its members one after the other, each checked and whole.

    Reading raises EOFError when the file ends within a member, or is BGZF without its last block;
    and whatever the libraries raise on damaged data.

    Args:
        stored: the file.
        compression: its name.
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
        """Return what reads the next member; nothing where there is none."""
        if self._member is not None:
            self._stored.put_back(self._member.unused_data)
            self._pass_over_zeros()
        start = self._stored.peek(len(BGZF_END))
        if not start:
            if self._lacks_end:
                raise EOFError("the block that ends bgzip and BAM files is missing")
            return None
        if not start.startswith(_STARTS[self._compression]):
            raise OSError("something else follows its compressed data")
        self._lacks_end = _is_bgzf(start) and not start.startswith(BGZF_END)
        return _MEMBERS[self._compression]()

    def _pass_over_zeros(self) -> None:
        """Pass over the zeros that some programs put behind a member."""
        unit, zeros = _PADDING.get(self._compression, 0), 0
        while unit and self._stored.peek(1)[:1] == b"\0":
            data = self._stored.read(_CHUNK)
            rest = data.lstrip(b"\0")
            zeros += len(data) - len(rest)
            self._stored.put_back(rest)
        if unit and zeros % unit:
            raise OSError("the zeros behind its compressed data are too few")


def _is_bgzf(start: bytes) -> bool:
    """Tell whether a member is a block of BGZF, the gzip of bgzip and BAM."""
    return start.startswith(b"\x1f\x8b\x08\x04") and start[12:14] == b"BC"


def decompressed(stored: StoredBytes) -> ByteStream:
    """Undo the compression of a file, which its content tells and never its name."""
    start = stored.peek(_LONGEST_START)
    compression = next((name for name, begin in _STARTS.items() if start.startswith(begin)), None)
    return stored if compression is None else DecompressedBytes(stored, compression)


@contextmanager
def open_content(path: str | os.PathLike[str]) -> Iterator[io.BufferedReader]:
    """Open a file, its compression undone.

    Reading it raises whatever the libraries raise on damaged data. A first look at it (`peek`)
    shows at least 4 bytes, which is what tells an encoding.
    """
    with Path(path).open("rb") as file:
        content = decompressed(StoredBytes(file))
        content.peek(4)
        yield io.BufferedReader(content, buffer_size=_CHUNK)
