"""Class-named FASTA files, from which fragments are cut."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError
from virnucpro.sequences import Nucleotides, SequenceFile
from virnucpro.sequences.labels import class_of, label_of

#: A record is drawn in proportion to its length, but as one of this many bases at most.
LONGEST_WEIGHT = 50_000


class ClassData(NamedTuple):
    """The records of one class, joined end to end.

    Attributes:
        name: name of the class.
        is_virus: its label.
        sequences: the sequences.
        cumulative_odds: chance that this record or an earlier one is drawn.
    """

    name: str
    is_virus: bool
    sequences: Nucleotides
    cumulative_odds: NDArray[np.float64]


def load_classes(directories: list[Path]) -> list[ClassData]:
    """Read the files of the directories named `virus*` or `other*`; files may share a class.

    Raises:
        InputError: a label has no file.
    """
    files: dict[str, list[Path]] = {}
    for directory in directories:
        for path in sorted(directory.iterdir()):
            if label_of(class_of(path)) is not None:
                files.setdefault(class_of(path), []).append(path)
    if {label_of(name) for name in files} != {True, False}:
        raise InputError(f"{directories[0]}: needs FASTA files named virus* and other*")
    return [_load(name, paths) for name, paths in sorted(files.items())]


def _load(name: str, paths: list[Path]) -> ClassData:
    letters: list[str] = []
    for path in paths:
        with SequenceFile(str(path)) as file:
            letters += [record.sequence for record in file]
    if not any(letters):
        raise InputError(f"{paths[0]}: holds no sequences; give records of every class")
    return class_data(name, letters)


def class_data(name: str, letters: list[str]) -> ClassData:
    """Join the sequences of a class."""
    sequences = Nucleotides.join(letters)
    odds = np.cumsum(np.minimum(np.diff(sequences.offsets), LONGEST_WEIGHT))
    return ClassData(name, bool(label_of(name)), sequences, odds / odds[-1])
