"""Directories that fill: bundles, caches, results."""

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

#: Seconds that measuring one directory may take.
_SECONDS = 1.0
#: Bytes that should be free where results and temporary files go.
_LEAST_FREE = 1 << 30


def places(problems: list[Problem]) -> list[Place]:
    """Describe them; what is wrong with them goes into `problems`."""
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
            problems.append(Problem(what, "make room, or work on another disk"))
        if not is_writable(Path(place.path)):
            what = f"{place.what} ({place.path}): cannot be written"
            problems.append(Problem(what, "get the right to write, or work elsewhere"))
    return found


def _place(what: str, path: Path, *, is_own: bool) -> Place:
    size, is_partial = _size(path) if is_own else (None, False)
    return Place(what, str(path), size, is_partial, shutil.disk_usage(_existing(path)).free)


def _existing(path: Path) -> Path:
    """Return a path, or the nearest directory above that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _size(directory: Path) -> tuple[int, bool]:
    """Return the bytes of a directory's files, linked ones once, and whether time ran out."""
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
