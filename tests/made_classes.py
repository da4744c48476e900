"""Three classes of records that tell themselves apart by the letters they have most."""

from pathlib import Path

import numpy as np

#: Letters of each class: how often A, C, G and T.
ODDS = {"virus_one": (4, 1, 1, 4), "virus_two": (4, 1, 2, 3), "other_one": (1, 4, 4, 1)}
#: Lengths of the records of each class; the first is shorter than most fragments.
LENGTHS = (45, 70, 900, 3000)


def records_of(name: str) -> list[str]:
    """Return the records of a class; the last has lower-case letters, and some that are no base."""
    random = np.random.default_rng(list(ODDS).index(name))
    odds = np.array(ODDS[name]) / 10
    texts = ["".join(random.choice(list("ACGT"), size=n, p=odds)) for n in LENGTHS]
    return [*texts[:-1], texts[-1][:500] + "N" * 9 + texts[-1][509:].lower()]


def write_fasta(path: Path, records: list[str]) -> None:
    """Write a FASTA file, and its directory."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f">r{i}\n{text}\n" for i, text in enumerate(records)))


def write_classes(folder: Path) -> Path:
    """Write a file of each class, and one that is none."""
    for name in ODDS:
        write_fasta(folder / f"{name}.fa", records_of(name))
    (folder / "README").touch()
    return folder
