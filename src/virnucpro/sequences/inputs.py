"""The inputs that a user gives: checked by one look at the beginning of each file."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from virnucpro.errors import InputError, SettingsError
from virnucpro.sequences.fragments import (
    PLAIN,
    FragmentReader,
    ReadOptions,
    Source,
    paths_of,
)
from virnucpro.sequences.mates import say_they_are_mates
from virnucpro.sequences.reader import LOOKED_AT, STDIN, Format
from virnucpro.sequences.records import Kind, read_problem

#: Number of letters that suffice to tell DNA from protein.
_ENOUGH = 300
_FOR_DNA = "It is embedded as protein; for DNA choose an encoder of DNA, for example dnabert-s"

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Look:
    """What the beginning of an input shows.

    Attributes:
        source: a file, or the two files of pairs.
        formats: format of each file; empty for streams, which are not looked at.
        headers: headers of the first two records of a text file without pairs.
        letters: the first letters, if the input is looked at as protein.
    """

    source: Source
    formats: tuple[Format, ...] = ()
    headers: tuple[str, ...] = ()
    letters: str = ""


@dataclass(frozen=True)
class Inputs:
    """Checked inputs.

    Attributes:
        looks: what the beginning of each input shows, in the order they are read.
    """

    looks: tuple[Look, ...]

    @property
    def sources(self) -> list[Source]:
        """The inputs in the order they are read."""
        return [look.source for look in self.looks]

    def repeat_notes(self) -> list[str]:
        """Return a note for each file that is given more than once."""
        return [
            f"{path} is given {count} times: its records are counted {count} times"
            for path, count in Counter(paths_of(self.sources)).items()
            if count > 1
        ]

    def mate_notes(self) -> list[str]:
        """Return a note for inputs that look like pairs but are not given as pairs."""
        found = [look for look in self.looks if look.headers]
        notes = [
            f"{look.source} looks like interleaved pairs: --interleaved gives one call per pair"
            for look in found
            if len(look.headers) == 2 and say_they_are_mates(*look.headers)
        ]
        for one, other in pairwise(found):
            if say_they_are_mates(one.headers[0], other.headers[0]):
                notes.append(
                    f"{one.source} and {other.source} look like mates: -1 and -2 give one call "
                    "per pair"
                )
        return notes

    def dna_notes(self) -> list[str]:
        """Return a note for each protein file that looks like DNA; its letters are residues too."""
        return [
            f"{look.source} holds only A, C, G, T, U and N: is this DNA? {_FOR_DNA}"
            for look in self.looks
            if len(look.letters) >= _ENOUGH and not look.letters.upper().strip("ACGTUN-*")
        ]

    def check_for_bam(self) -> None:
        """Check that `reads.bam` can be made of the inputs.

        Raises:
            SettingsError: an input cannot be read twice, or one of several is a BAM file.
        """
        paths = paths_of(self.sources)
        for path in filter(is_stream, paths):
            raise SettingsError(
                f"--bam reads the input twice, which {path} does not allow; give a file"
            )
        if len(paths) > 1 and any("bam" in look.formats for look in self.looks):
            raise SettingsError(
                "--bam takes one BAM file, or only FASTA and FASTQ; run each by itself"
            )


def checked_inputs(
    inputs: Sequence[AnyPath] | AnyPath,
    kind: Kind,
    mates: Sequence[tuple[AnyPath, AnyPath]] = (),
    options: ReadOptions = PLAIN,
) -> Inputs:
    """Check inputs and open each once to look at its beginning; pairs of files come first.

    Args:
        inputs: one or several files, or `-`.
        kind: what the records should be.
        mates: pairs of files with the mates 1 and the mates 2.
        options: how the inputs are read.

    Raises:
        InputError: there is no input, standard input is given twice, a file is missing, of another
            kind, or has a name that is not UTF-8, or both mates are in one file.
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
    return Inputs(tuple(_look_at(source, kind, options) for source in sources))


def _look_at(source: Source, kind: Kind, options: ReadOptions) -> Look:
    """Read the beginning of an input; the reader refuses records that are all of another kind."""
    if any(map(is_stream, paths_of([source]))):
        return Look(source)
    reader = FragmentReader([source], kind, options)
    headers: list[str] = []
    letters, is_readable = "", False
    for fragment in islice(reader, LOOKED_AT):
        is_readable = is_readable or not any(read_problem(mate.read, kind) for mate in fragment)
        may_be_mates = reader.formats != ("bam",) and len(fragment) == 1
        if may_be_mates and len(headers) < 2:
            headers.append(fragment[0].record.header)
        if kind == "protein":
            letters += fragment[0].record.sequence[:_ENOUGH]
        is_known = kind == "dna" or len(letters) >= _ENOUGH
        if is_readable and is_known and (len(headers) == 2 or not may_be_mates):
            break
    return Look(source, reader.formats, tuple(headers), letters)


def is_stream(path: str) -> bool:
    """Return whether an input can be read only once."""
    return path == STDIN or Path(path).is_fifo()
