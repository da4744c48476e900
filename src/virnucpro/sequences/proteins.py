"""The letters of proteins."""

from string import ascii_letters

#: A protein record may hold letters, gaps as `-` or `.`, and stops.
_DELETE_RESIDUES = str.maketrans("", "", ascii_letters + "-.*")


def foreign_residues(sequence: str) -> str:
    """Return the characters of `sequence` that no protein record holds, each once, in order."""
    return "".join(sorted(set(sequence.translate(_DELETE_RESIDUES))))


def residues_of(sequence: str) -> str:
    """Return a protein as it is embedded: upper-case, without the stop that may end it."""
    return sequence.upper().removesuffix("*")
