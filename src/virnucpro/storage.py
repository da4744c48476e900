"""Files that are there whole or not at all, and where those of the user lie."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes, writer: str = "") -> None:
    """Write a file so that a crash leaves either the old content or the new, never a part.

    Args:
        path: where to.
        content: the whole of it.
        writer: a name of its own for each of several writers of the same file.
    """
    beside = path.with_name(f"{path.name}{writer}.partial")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_directory(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """Write a file whole unless it is there; of several writers at once, one does."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    beside.write_bytes(content)
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            beside.rename(path)
    beside.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make renames in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def home() -> Path:
    """Return where bundles that were added lie: `$VIRNUCPRO_HOME`, else the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("VIRNUCPRO_HOME") or Path(data) / "virnucpro" / "bundles")
