"""Where libraries keep what they make for themselves, on machines where little can be written."""

import os
import tempfile
from pathlib import Path

from virnucpro.errors import SettingsError
from virnucpro.files import home, user_home

#: Variable that says where a library keeps its files -> where that is by default, under the
#: user's home directory.
_CACHES = {
    "MPLCONFIGDIR": (".config/matplotlib", ".cache/matplotlib"),
    "TRITON_CACHE_DIR": (".triton/cache",),
    "HF_HOME": (".cache/huggingface",),
}
#: Directory for all of them, beside the bundles.
_CACHES_PLACE = ".caches"


def ready_caches() -> None:
    """Let libraries keep their files beside the bundles where they cannot keep them elsewhere.

    As in a container whose own files cannot be written. What the environment says stays; where
    there is no place beside the bundles either, libraries say so themselves.
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
    """Tell whether a directory can be written, or made where it is missing."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _is_of_use(name: str) -> bool:
    """Tell whether a directory under the user's home directory can be written.

    The Hugging Face cache may also be there to be read alone.
    """
    try:
        path = user_home() / name
        return is_writable(path) or ("huggingface" in name and path.is_dir())
    except (SettingsError, OSError):
        return False
