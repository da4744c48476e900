"""Cache directories of libraries, on machines where few places are writable."""

import os
import tempfile
from pathlib import Path

from virnucpro.errors import SettingsError
from virnucpro.files import home, user_home

#: Environment variable of a library's cache -> its default places in the user's home directory.
_CACHES = {
    "MPLCONFIGDIR": (".config/matplotlib", ".cache/matplotlib"),
    "TRITON_CACHE_DIR": (".triton/cache",),
    "HF_HOME": (".cache/huggingface",),
}
#: Directory for all caches, next to the bundles.
_CACHES_PLACE = ".caches"


def ready_caches() -> None:
    """Put the caches of libraries next to the bundles if their default places are not writable.

    This is the case in a read-only container. Variables that are already set stay. If the place
    next to the bundles is not writable either, the libraries report the error.
    """
    try:
        place = home() / _CACHES_PLACE
    except SettingsError:
        return
    if not is_writable(place):
        return
    for variable, names in _CACHES.items():
        if variable not in os.environ and not all(map(_is_of_use, names)):
            os.environ[variable] = str(place / variable.lower())
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        (place / "tmp").mkdir(parents=True, exist_ok=True)
        os.environ["TMPDIR"] = str(place / "tmp")


def is_writable(path: Path) -> bool:
    """Return whether a directory is writable, or can be created."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _is_of_use(name: str) -> bool:
    """Return whether a directory in the user's home directory can be used.

    The Hugging Face cache may also be read-only.
    """
    try:
        path = user_home() / name
        return is_writable(path) or ("huggingface" in name and path.is_dir())
    except (SettingsError, OSError):
        return False
