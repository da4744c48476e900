"""Directories of output: which may be written, who holds them, and whether they are still there."""

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from virnucpro.errors import RunError, SettingsError
from virnucpro.system.forking import close_in_children

_LOCK_FILE = ".lock"
#: Seconds between two looks whether a directory is there, and between two tries to get a lock.
_LOOK_EVERY, _TRY_EVERY = 0.5, 0.05


def checked_out(out: str | os.PathLike[str]) -> Path:
    """Return where output goes.

    Raises:
        SettingsError: when that is empty, `-`, or no path.
    """
    text = os.fspath(out)
    if text in ("", "-"):
        raise SettingsError(f"-o {text!r}: is no path; give one, results are files")
    if "\0" in text:
        raise SettingsError(f"-o {text!r}: no path has a NUL; give another")
    return Path(text)


def own_directory(path: Path) -> None:
    """Make a directory inside an output directory, unless it is there.

    Raises:
        RunError: when it is a link, or no directory: what is written would be elsewhere.
    """
    with suppress(FileExistsError):
        path.mkdir()
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise RunError(f"{path}: is a link or a file, where a directory is needed; remove it")


class Lock:
    """The lock of a directory. It is the kernel's: it goes with the process, however that ends.

    Args:
        directory: one that is known to be ours; the file stays in it, empty.

    Raises:
        RunError: when the file is a link, or cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _LOCK_FILE
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW  # NFS shares no lock that cannot be read
        try:
            descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            if self._path.is_symlink() or self._path.is_dir():
                raise RunError(f"{self._path}: is no file; remove it") from error
            raise
        self._file = close_in_children(os.fdopen(descriptor, "r+b", buffering=0))
        found = os.fstat(descriptor)
        if found.st_size or not stat.S_ISREG(found.st_mode):  # ours is empty
            self._file.close()
            raise RunError(f"{self._path}: is of another program; give another directory")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, *, is_shared: bool = False, seconds: float = 0.0) -> bool:
        """Get the lock, or another kind of it.

        Args:
            is_shared: whether others may have it too.
            seconds: how long to wait for it.

        Returns:
            whether it is held now.

        Raises:
            RunError: when the file system has no locks.
        """
        deadline = time.monotonic() + seconds
        while not self._try(fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_TRY_EVERY)
        return True

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise RunError(
                f"{self._path}: cannot be locked ({error.strerror}); give a directory on a file "
                "system with locks"
            ) from error
        return True


class Watch:
    """Notices that a directory is removed, or that another one takes its place.

    Args:
        directory: one that is there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._identity = self._look()
        self._next = 0.0

    def check(self) -> None:
        """Look, unless that was a moment ago.

        Raises:
            RunError: when the directory is gone.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOOK_EVERY
            if self._look() != self._identity:
                raise RunError(
                    f"{self._directory}: was removed or replaced while the run went on; run again"
                )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._directory.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return None if error.errno == errno.ESTALE else self._identity
        return found.st_dev, found.st_ino
