"""Files that appear in the output directory only once all of them are complete."""

import gzip
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from virnucpro.files import naming, open_nameless, open_new, partial_path, sync


class PartialFiles:
    """A set of files that are written under temporary names and renamed together at the end.

    Use it as a context manager. Leaving it without an error renames the files; an error removes
    them.
    """

    def __init__(self) -> None:
        self._partial: dict[Path, Path] = {}
        self._stack = ExitStack()

    def open(self, path: Path) -> BinaryIO:
        """Open a file for writing, compressed if its name ends in .gz."""
        partial = partial_path(path)
        raw = self._stack.enter_context(open_new(partial, path))
        self._partial[path] = partial
        if path.suffix != ".gz":
            return raw
        # Without a name and a time, the same content gives the same bytes.
        packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
        return cast("BinaryIO", self._stack.enter_context(packed))

    def scratch(self, path: Path) -> BinaryIO:
        """Open an unnamed scratch file on the disk of `path`; it is removed at the end."""
        return self._stack.enter_context(open_nameless(path))

    def at_end(self, act: Callable[[], None]) -> None:
        """Call `act` before the files are closed, whether or not they are complete."""
        self._stack.callback(act)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
            if error is None:
                self._appear()
        finally:
            for partial in self._partial.values():
                with suppress(OSError):
                    partial.unlink(missing_ok=True)

    def _appear(self) -> None:
        for path, partial in self._partial.items():
            with naming(path, partial):
                sync(partial)
        for path, partial in self._partial.items():
            with naming(path, partial):
                partial.replace(path)
        for directory in {path.parent for path in self._partial}:
            sync(directory)
