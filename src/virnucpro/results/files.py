"""Files that appear in the output directory only when all of them are whole."""

import gzip
import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from virnucpro.storage import sync_directory


class PartialFiles:
    """A set of files written as `NAME.partial` and renamed together at the end.

    Use it as a context; leaving it without an error renames the files.
    """

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._stack = ExitStack()

    def open(self, path: Path) -> BinaryIO:
        """Open a file for writing, compressed when its name ends in .gz."""
        raw = self._stack.enter_context(partial_path(path).open("wb"))
        self._stack.callback(_sync, raw)
        self._paths.append(path)
        if path.suffix != ".gz":
            return raw
        # Without name and time the same content gives the same bytes.
        packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
        return cast("BinaryIO", self._stack.enter_context(packed))

    def scratch(self, directory: Path) -> IO[bytes]:
        """Open a nameless file that is gone at the end."""
        return self._stack.enter_context(TemporaryFile(dir=directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is not None:
            return
        for path in self._paths:
            partial_path(path).replace(path)
        for directory in {path.parent for path in self._paths}:
            sync_directory(directory)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def partial_path(path: Path) -> Path:
    """Return where a file is written until it is whole."""
    return path.with_name(path.name + ".partial")
