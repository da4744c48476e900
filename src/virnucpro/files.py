"""Writes files whole or not at all, and never through a link; finds the user's directories.

Every file of the program is written under a unique name, synced, and renamed.
"""

import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from virnucpro.errors import RunError, SettingsError

#: End of the name of an unfinished file.
_PARTIAL = re.compile(r"\.[0-9a-f]{8}\.partial$")
#: Error number of the system in the messages of HDF5 and of libraries in Rust.
_SYSTEM_ERROR = re.compile(r"(?:errno =|os error) (\d+)")

_BY_EFFECTIVE_ID = os.access in os.supports_effective_ids


def partial_path(path: Path) -> Path:
    """Return a unique name for a file until it is whole."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")


def is_partial(name: str, of: str = "") -> bool:
    """Return whether `partial_path` made a name, of any file or of the file `of`."""
    found = _PARTIAL.search(name)
    return found is not None and (not of or name[: found.start()] == of)


def remove_partial(directory: Path) -> None:
    """Remove the unfinished files that killed processes left in a directory of ours."""
    for path in list(directory.iterdir()):
        if is_partial(path.name):
            path.unlink(missing_ok=True)


def open_new(path: Path, shown: Path | None = None) -> BinaryIO:
    """Create a file and open it for writing.

    Args:
        path: path of the file; `FileExistsError` is raised if it exists, also as a link.
        shown: path that errors name instead.
    """
    shown = shown or path
    with naming(shown, path):
        return io.BufferedWriter(_NewFile(path, shown))


def open_nameless(shown: Path) -> BinaryIO:
    """Open a new file without a name for reading and writing; closing it deletes it.

    Args:
        shown: the file that it helps to make, in the same directory; errors name this file.
    """
    path = partial_path(shown)
    with naming(shown, path):
        file = _NewFile(path, shown, "x+")
        path.unlink()
        return io.BufferedRandom(file)


class _NewFile(io.FileIO):
    """A new file whose errors name another path."""

    def __init__(self, path: Path, shown: Path, mode: str = "x") -> None:
        self._shown = shown
        super().__init__(path, mode)

    def write(self, content: Any, /) -> int:  # noqa: ANN401 (any buffer)
        with naming(self._shown):
            return super().write(content)


@contextmanager
def naming(path: Path, alias: Path | None = None) -> Iterator[None]:
    """Add the name of a file to system errors of the body that lack one.

    Args:
        path: path of the file.
        alias: a temporary name of the file, which errors should not show.
    """
    try:
        yield
    except OSError as error:
        text = str(error)
        found = _SYSTEM_ERROR.search(text)
        number = int(found[1]) if found else error.errno
        error.strerror = os.strerror(number) if number else text
        if error.filename is None or error.filename == os.fspath(alias or ""):
            error.filename = os.fspath(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a new, empty file, which becomes `path` unless the body raises.

    After a crash `path` has either the old content or the new, never a part.
    """
    partial = partial_path(path)
    try:
        open_new(partial, path).close()
        with naming(path, partial):
            yield partial
            sync(partial)
            partial.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; after a crash it has either the old content or the new, never a part."""
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(content)


def write_json(path: Path, value: object) -> None:
    """Write a value as a JSON file, whole or not at all."""
    write_whole(path, as_json(value))


def as_json(value: object) -> bytes:
    """Return a value as the content of a JSON file; numbers that are not finite become null."""
    import msgspec  # noqa: PLC0415 (--help does without)

    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def write_once(path: Path, content: bytes) -> None:
    """Write a file whole unless it exists; only one of several writers succeeds."""
    partial = partial_path(path)
    try:
        with naming(path, partial), open_new(partial, path) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not os.path.lexists(path):
                partial.rename(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush the content of a file, or the names in a directory, to disk to survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW * (not path.is_dir()))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_place(path: Path) -> None:
    """Check before a long computation that a file can be written.

    Raises:
        RunError: its directory is missing or not writable, or the path is a directory.
    """
    if path.is_dir():
        raise RunError(f"{path}: is a directory; give a file")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent}: is not a directory; create it, or give a file elsewhere")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise RunError(f"{path.parent}: is not writable; give a file elsewhere")


def as_text(path: str | Path) -> str:
    """Return a path as UTF-8 text; other bytes are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def home() -> Path:
    """Return the directory to which bundles are added: the last of `stores`."""
    return stores()[-1]


def stores() -> list[Path]:
    """Return the directories of bundles.

    This is `$VIRNUCPRO_HOME` if it is set, otherwise the user's data directory. If
    `$VIRNUCPRO_HOME` is a shared directory that this user cannot write, both are used.
    """
    given = os.environ.get("VIRNUCPRO_HOME")
    if not given:
        return [_own_store()]
    shared = Path(given)
    if not shared.is_dir() or os.access(shared, os.W_OK | os.X_OK, effective_ids=_BY_EFFECTIVE_ID):
        return [shared]
    try:
        return [shared, _own_store()]
    except SettingsError:  # no home directory; the shared one can still be read
        return [shared]


def _own_store() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or user_home() / ".local" / "share"
    return Path(data) / "virnucpro" / "bundles"


def user_home() -> Path:
    """Return the user's home directory.

    Raises:
        SettingsError: neither the environment nor the system names it.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise SettingsError("this user has no home directory; set HOME to a directory") from error
