"""Untrusted files: only regular files are opened, and only up to a limit is read.

Opening a FIFO waits for a writer, and opening a device may act on it. A size is compared with its
limit before anything is read.
"""

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from virnucpro.errors import BundleError, reading

#: Most bytes of a configuration; ESM-2's has 800.
LONGEST_CONFIG = 1 << 20
#: Most bytes of an index of weights; that of ESM-2 15B has 60 kB.
LONGEST_INDEX = 1 << 22
#: Most bytes of a tokenizer; DNABERT-S's has 170 kB.
LONGEST_TOKENIZER = 1 << 21
#: Most bytes of the header of a safetensors file; that of ESM-2 15B has 100 kB.
LONGEST_HEADER = 1 << 22
#: Most bytes of the directory of a zip; that of ESM-2 15B has 80 kB.
_LONGEST_DIRECTORY = 1 << 22
#: Most tensors of a checkpoint; ESM-2 15B has 900.
MOST_TENSORS = 1 << 15
#: Most dimensions of a tensor.
MOST_DIMENSIONS = 8


class ShortReads(BufferedReader):
    """A zip file that refuses long reads, because a zip's directory is read in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes.

        Raises:
            ValueError: a directory does not need so many bytes.
        """
        if size is not None and size > _LONGEST_DIRECTORY:
            raise ValueError(f"a directory of {size:,} bytes")
        return super().read(size)


def regular_size(path: Path) -> int:
    """Return a file's size.

    Raises:
        OSError: the file is not regular: a FIFO, a device or a directory.
    """
    return _size_of(path.stat())


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, and no other kind of file.

    Raises:
        OSError: the file does not exist or is not regular.
    """
    regular_size(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _size_of(os.fstat(descriptor))  # it may be another file by now
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_short(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most so many bytes.

    Raises:
        OSError: the file does not exist, is not regular, or is too large.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most:,} bytes")
    return content


def read_json(path: Path, most: int) -> dict[str, Any]:
    """Return the object in a JSON file of at most `most` bytes.

    Raises:
        BundleError: the file cannot be read or holds no object.
    """
    with reading(path, "get it again", BundleError):
        found = json.loads(read_short(path, most))
        if not isinstance(found, dict):
            raise ValueError("no object of JSON")  # noqa: TRY004 (about the file)
        return found


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header has more bytes than any checkpoint needs.

    Raises:
        OSError: the file is not regular.
        ValueError: the header is too long.
    """
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header says to have {length:,} bytes")


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of more dimensions than any network needs.

    Raises:
        ValueError: the tensor has more dimensions.
    """
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{name[:100]} has {len(shape):,} dimensions")


def _size_of(status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return status.st_size
