"""Modules of a user that have the names of others, and tell when they are imported."""

from pathlib import Path

#: Names of the standard library, of packages, and of the program itself.
POISONS = ("random", "json", "decimal", "numpy", "torch", "virnucpro")


def poisoned(directory: Path, *names: str) -> Path:
    """Write such modules into a new directory and return it."""
    directory.mkdir()
    for name in names:
        mark = directory / f"{name}.imported"
        (directory / f"{name}.py").write_text(f"open({str(mark)!r}, 'w'); raise ImportError")
    return directory


def imported(*directories: Path) -> list[str]:
    """Return the names of those that were imported."""
    return [mark.stem for directory in directories for mark in directory.glob("*.imported")]
