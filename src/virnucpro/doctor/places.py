"""Check the directories that virnucpro writes to: bundles, caches and results."""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from virnucpro.doctor.findings import Place, Problem
from virnucpro.files import home, user_home
from virnucpro.system.caches import is_writable

#: Longest time in seconds to measure the size of one directory.
_SECONDS = 1.0
#: Bytes that should be free on the disk of each directory.
_LEAST_FREE = 1 << 30


def places(problems: list[Problem]) -> list[Place]:
    """Return the directories that virnucpro writes to, and add their problems to `problems`."""
    triton = os.environ.get("TRITON_CACHE_DIR") or user_home() / ".triton" / "cache"
    caches = {"bundles": home(), "downloads": Path(HF_HUB_CACHE), "compiled kernels": Path(triton)}
    shared = {"this directory": Path.cwd()}
    try:
        shared["temporary files"] = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        what = f"temporary files: {error.strerror}"
        problems.append(Problem(what, "set TMPDIR to a directory that can be written"))
    found = [_place(what, path, is_own=True) for what, path in caches.items()]
    found += [_place(what, path, is_own=False) for what, path in shared.items()]
    for place in found:
        if place.free < _LEAST_FREE:
            what = f"{place.what} ({place.path}): {place.free / 2**20:,.0f} MiB are free"
            problems.append(Problem(what, "free some space, or use another disk"))
        if not is_writable(Path(place.path)):
            what = f"{place.what} ({place.path}): cannot be written"
            problems.append(Problem(what, "get permission to write, or use another directory"))
    return found


def _place(what: str, path: Path, *, is_own: bool) -> Place:
    size, is_partial = _size(path) if is_own else (None, False)
    return Place(what, str(path), size, is_partial, shutil.disk_usage(_existing(path)).free)


def _existing(path: Path) -> Path:
    """Return a path, or its nearest parent that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _size(directory: Path) -> tuple[int, bool]:
    """Return the bytes of a directory's files, and whether counting ran out of time.

    A file with several hard links counts once.
    """
    deadline = time.monotonic() + _SECONDS
    counted: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                status = Path(place, name).lstat()
                counted[status.st_dev, status.st_ino] = status.st_size
            if time.monotonic() > deadline:
                return sum(counted.values()), True
    return sum(counted.values()), False
