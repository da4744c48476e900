"""Files that are there whole or not at all, and where those of the user lie."""

import os
import secrets
from pathlib import Path

from virnucpro.errors import RunError, SettingsError

_BY_EFFECTIVE_ID = os.access in os.supports_effective_ids


def write_whole(path: Path, content: bytes, writer: str = "") -> None:
    """Write a file so that a crash leaves either the old content or the new, never a part.

    Args:
        path: where to.
        content: the whole of it.
        writer: a name of its own for each of several writers of the same file.
    """
    beside = path.with_name(f"{path.name}{writer}.partial")
    _write_synced(beside, content)
    beside.replace(path)
    sync_directory(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """Write a file whole unless it is there; of several writers at once, one does."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    _write_synced(beside, content)
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            beside.rename(path)
    beside.unlink(missing_ok=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make renames in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_place(path: Path) -> None:
    """Refuse the place of a file that could not be written when the work is done.

    Raises:
        RunError: when its directory is missing or not writable, or it is a directory itself.
    """
    if path.is_dir():
        raise RunError(f"{path}: is a directory; give a file")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent}: is no directory; make it, or give a file elsewhere")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise RunError(f"{path.parent}: is not writable; give a file elsewhere")


def as_text(path: str | Path) -> str:
    """Return a path for what is written in UTF-8; bytes of it that are not are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def home() -> Path:
    """Return where bundles are added: the last of `stores`."""
    return stores()[-1]


def stores() -> list[Path]:
    """Return where bundles lie.

    That is `$VIRNUCPRO_HOME`, else the user's data folder; and both where the first is a shared one
    that this user cannot write.
    """
    given = os.environ.get("VIRNUCPRO_HOME")
    if not given:
        return [_own_store()]
    shared = Path(given)
    if not shared.is_dir() or os.access(shared, os.W_OK | os.X_OK, effective_ids=_BY_EFFECTIVE_ID):
        return [shared]
    try:
        return [shared, _own_store()]
    except SettingsError:  # no home directory: what is shared can be read nevertheless
        return [shared]


def _own_store() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or user_home() / ".local" / "share"
    return Path(data) / "virnucpro" / "bundles"


def user_home() -> Path:
    """Return the user's home directory.

    Raises:
        SettingsError: when neither the environment nor the system says it.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise SettingsError("this user has no home directory; set HOME to a directory") from error
