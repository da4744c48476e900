"""What a user gives as input, checked before anything is written."""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

from virnucpro.errors import InputError, SettingsError
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.fragments import (
    PLAIN,
    FragmentReader,
    ReadOptions,
    Source,
    paths_of,
)
from virnucpro.sequences.mates import say_they_are_mates
from virnucpro.sequences.reader import LOOKED_AT, STDIN
from virnucpro.sequences.records import Kind, read_problem

#: Letters that are looked at to tell DNA from protein.
_ENOUGH = 300
_FOR_DNA = "It is embedded as protein; for DNA give an encoder of DNA, as dnabert-s"

AnyPath = str | os.PathLike[str]


def checked_inputs(
    inputs: Sequence[AnyPath] | AnyPath,
    kind: Kind,
    mates: Sequence[tuple[AnyPath, AnyPath]] = (),
    options: ReadOptions = PLAIN,
) -> list[Source]:
    """Return inputs as text, those of two files first.

    Args:
        inputs: one or several files, or `-`.
        kind: what their records should be.
        mates: pairs of files, of mates 1 and of mates 2.
        options: how they are read.

    Raises:
        InputError: when there is none, standard input comes twice, or one is missing, of
            another kind, or has a name that cannot be written down, or both mates are in one file.
    """
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    sources: list[Source] = [(os.fspath(first), os.fspath(second)) for first, second in mates]
    sources += [os.fspath(path) for path in given]
    if not sources:
        raise InputError("no input: give at least one FASTA, FASTQ or BAM file")
    paths = paths_of(sources)
    if paths.count(STDIN) > 1:
        raise InputError("standard input (-) can be read only once; give it once")
    for pair in sources:
        if not isinstance(pair, str) and pair[0] == pair[1]:
            raise InputError(f"{pair[0]}: is given as mates 1 and 2; give the file of each")
    unwritable = [path for path in paths if path.encode(errors="replace").decode() != path]
    if unwritable:
        raise InputError(f"{unwritable[0]}: its name is not UTF-8; rename it")
    for source in sources:
        if not any(is_stream(path) for path in paths_of([source])):
            _look_at(source, kind, options)
    return sources


def _look_at(source: Source, kind: Kind, options: ReadOptions) -> None:
    """Read as far as it takes to know that a file is of its kind, which the reader refuses else."""
    for fragment in islice(FragmentReader([source], kind, options), LOOKED_AT):
        if not any(read_problem(mate.read, kind) for mate in fragment):
            break


def is_stream(path: str) -> bool:
    """Tell whether an input can be read only once."""
    return path == STDIN or Path(path).is_fifo()


def mate_notes(sources: Sequence[Source]) -> list[str]:
    """Say which inputs look like mates of pairs although they are not said to be."""
    notes, begins = [], {}
    for source in sources:
        if not isinstance(source, str) or is_stream(source):
            continue
        with SequenceFile(source) as file:
            headers = [record.header for record in islice(file, 2)]
            if not headers or file.format == "bam":
                continue
        begins[source] = headers[0]
        if len(headers) == 2 and say_they_are_mates(*headers):
            notes.append(f"{source} looks like pairs in turn: --interleaved gives one call a pair")
    for (one, first), (other, second) in pairwise(begins.items()):
        if say_they_are_mates(first, second):
            notes.append(f"{one} and {other} look like mates: -1 and -2 give one call a pair")
    return notes


def dna_notes(sources: Sequence[Source], kind: Kind) -> list[str]:
    """Say which files of proteins hold what looks like DNA, whose letters are residues, too."""
    notes = []
    for path in paths_of(sources) if kind == "protein" else []:
        if is_stream(path):
            continue
        letters = ""
        with SequenceFile(path, kind) as file:
            for record in islice(file, LOOKED_AT):
                letters += record.sequence[:_ENOUGH]
                if len(letters) >= _ENOUGH:
                    break
        if len(letters) >= _ENOUGH and not letters.upper().strip("ACGTUN-*"):
            notes.append(f"{path} holds A, C, G, T, U and N alone: is this DNA? {_FOR_DNA}")
    return notes


def repeat_notes(sources: Sequence[Source]) -> list[str]:
    """Say which files are given more than once."""
    counts = Counter(paths_of(sources))
    return [
        f"{path} is given {count} times: its records are counted as often"
        for path, count in counts.items()
        if count > 1
    ]


def check_for_bam(sources: Sequence[Source]) -> None:
    """Refuse inputs that `reads.bam` cannot be made of.

    Raises:
        SettingsError: when one cannot be read twice, or there is more than one BAM file.
    """
    paths = paths_of(sources)
    formats = set()
    for path in paths:
        if is_stream(path):
            raise SettingsError(
                f"--bam reads the input twice, which {path} does not allow; give a file"
            )
        with SequenceFile(path) as file:
            formats.add(file.format)
            if file.format == "bam":
                _ = file.bam_header  # which is written too
    if "bam" in formats and len(paths) > 1:
        raise SettingsError("--bam takes one BAM file, or FASTA and FASTQ only; run each by itself")
