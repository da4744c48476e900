"""Where modules are imported from: the standard library first, the working directory never.

This module runs before all others, so that it imports nothing that a user's file can replace.
"""

import os
import sys


def import_safely() -> None:
    """Let this process import from the safe path alone."""
    sys.path[:] = safe_path()


def safe_path() -> list[str]:
    """Return `sys.path` with the standard library first and without the working directory.

    Python puts the directory of `python -m` or of a script, and what PYTHONPATH names, before the
    standard library. Packages that PYTHONPATH names can still be imported, and before those that
    are installed. The working directory stays where it is named there or holds this package.
    """
    library = os.path.dirname(os.__file__)  # noqa: PTH120 (pathlib is not imported yet)
    if library not in sys.path:
        return sys.path[:]
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    first = sys.path.index(library)
    standard = [
        entry
        for entry in sys.path
        if entry == library or os.path.basename(entry) in (archive, "lib-dynload")  # noqa: PTH119
    ]
    before = [entry for entry in sys.path[:first] if entry not in standard and _is_meant(entry)]
    after = [entry for entry in sys.path[first:] if entry not in standard]
    return standard + before + after


def _is_meant(entry: str) -> bool:
    """Whether an entry is there for another reason than being the working directory."""
    try:
        here = os.getcwd()  # noqa: PTH109
    except FileNotFoundError:  # nothing can be imported from a directory that is gone
        return bool(entry)
    named = [name for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if name]
    source = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    places = [os.path.join(here, name) for name in (*named, source)]  # noqa: PTH118
    found = os.path.join(here, entry)  # noqa: PTH118
    return not _is_same(found, here) or any(_is_same(found, place) for place in places)


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
