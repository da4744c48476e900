"""Class-named FASTA files: what fragments are cut from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError
from virnucpro.sequences import Nucleotides, SequenceFile
from virnucpro.training.sources import LABEL_NAMES, is_virus_class

#: A record is drawn in proportion to its length, up to this many bases.
LONGEST_WEIGHT = 50_000


class ClassData(NamedTuple):
    """The records of one class, end to end.

    Attributes:
        name: the file's name up to its first dot.
        is_virus: its label.
        sequences: the letters.
        cumulative_odds: chance that a record or one before it is drawn.
    """

    name: str
    is_virus: bool
    sequences: Nucleotides
    cumulative_odds: NDArray[np.float64]


def load_classes(directories: list[Path]) -> list[ClassData]:
    """Read every file of the directories named `virus*` or `other*`; equal names are one class.

    Raises:
        InputError: when one of the two labels has no file.
    """
    files: dict[str, list[Path]] = {}
    for directory in directories:
        for path in sorted(directory.iterdir()):
            if path.name.startswith(LABEL_NAMES):
                files.setdefault(path.name.split(".")[0], []).append(path)
    if {is_virus_class(name) for name in files} != {True, False}:
        raise InputError(f"{directories[0]}: needs FASTA files named virus* and other*")
    return [_load(name, paths) for name, paths in sorted(files.items())]


def _load(name: str, paths: list[Path]) -> ClassData:
    letters: list[str] = []
    for path in paths:
        with SequenceFile(str(path)) as file:
            letters += [record.sequence for record in file]
    if not any(letters):
        raise InputError(f"{paths[0]}: holds no letters; give records of every class")
    return class_data(name, letters)


def class_data(name: str, letters: list[str]) -> ClassData:
    """Put the sequences of a class together."""
    sequences = Nucleotides.join(letters)
    odds = np.cumsum(np.minimum(np.diff(sequences.offsets), LONGEST_WEIGHT))
    return ClassData(name, is_virus_class(name), sequences, odds / odds[-1])
