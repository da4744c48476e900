"""The letters of protein sequences."""

from string import ascii_letters

#: Protein records contain letters, gaps (`-` or `.`) and stops (`*`).
_DELETE_RESIDUES = str.maketrans("", "", ascii_letters + "-.*")


def foreign_residues(sequence: str) -> str:
    """Return the characters of `sequence` that no protein record contains, sorted, each once."""
    return "".join(sorted(set(sequence.translate(_DELETE_RESIDUES))))


def residues_of(sequence: str) -> str:
    """Return a protein as it is embedded: in upper case, without a final stop."""
    return sequence.upper().removesuffix("*")
