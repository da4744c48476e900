"""Output directories: paths, locks, and whether a directory still exists."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from virnucpro.errors import RunError, SettingsError
from virnucpro.system.forking import close_in_children

_LOCK_FILE = ".lock"
#: Seconds between two checks that a directory exists, and between two attempts to take a lock.
_LOOK_EVERY, _TRY_EVERY = 0.5, 0.05


def checked_out(out: str | os.PathLike[str]) -> Path:
    """Return the output directory as a path.

    Raises:
        SettingsError: it is empty, `-`, or not a path.
    """
    text = os.fspath(out)
    if text in ("", "-"):
        raise SettingsError(f"-o {text!r}: is not a path; give a directory, results are files")
    if "\0" in text:
        raise SettingsError(f"-o {text!r}: a path cannot contain NUL; give another")
    return Path(text)


def own_directory(path: Path) -> None:
    """Create a directory inside an output directory, unless it exists.

    Raises:
        RunError: it is a link or a file, so that output would be written elsewhere.
    """
    with suppress(FileExistsError):
        path.mkdir()
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise RunError(f"{path}: is a link or a file, but a directory is needed; remove it")


def open_directory(directory: Path, begin: Callable[[], object]) -> "Lock":
    """Create an output directory unless it exists, and return its lock, not yet taken.

    Args:
        directory: the directory.
        begin: checks that the directory is ours, or marks it as ours if it is empty, before
            anything in it is changed.

    Raises:
        RunError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        begin()
        return Lock(directory)
    except OSError as error:
        raise RunError(
            f"{directory}: cannot be written ({error.strerror}); give another directory"
        ) from error


def busy(directory: Path) -> RunError:
    """Return the error for a directory whose lock another process holds."""
    return RunError(
        f"{directory}: another process is running in it; wait for it, or give another directory"
    )


class Lock:
    """The lock of a directory. The kernel releases it when the process ends, in whatever way.

    Args:
        directory: a directory known to be ours; the lock file stays in it, empty.

    Raises:
        RunError: the file is a link, or cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _LOCK_FILE
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW  # NFS shares only locks of readable files
        try:
            descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            if self._path.is_symlink() or self._path.is_dir():
                raise RunError(f"{self._path}: is not a file; remove it") from error
            raise
        self._file = close_in_children(os.fdopen(descriptor, "r+b", buffering=0))
        found = os.fstat(descriptor)
        if found.st_size or not stat.S_ISREG(found.st_mode):  # our lock file is empty
            self._file.close()
            raise RunError(f"{self._path}: belongs to another program; give another directory")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, *, is_shared: bool = False, seconds: float = 0.0) -> bool:
        """Take the lock, or change its kind.

        Args:
            is_shared: whether other processes may hold it too.
            seconds: longest time to wait for it.

        Returns:
            whether this process now holds it.

        Raises:
            RunError: the file system does not support locks.
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
    """Detects that a directory is removed or replaced.

    Args:
        directory: an existing directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._identity = self._look()
        self._next = 0.0

    def check(self) -> None:
        """Check the directory, at most every half second.

        Raises:
            RunError: the directory has been removed or replaced.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOOK_EVERY
            if self._look() != self._identity:
                raise RunError(
                    f"{self._directory}: was removed or replaced during the run; "
                    "run the command again"
                )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._directory.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return None if error.errno == errno.ESTALE else self._identity
        return found.st_dev, found.st_ino
