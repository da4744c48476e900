"""Reads fragments: single reads, or the two mates of a pair.

Mates are read from two files in parallel, alternately from one interleaved file, or by the flags
of BAM.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from virnucpro.errors import InputError
from virnucpro.sequences.mates import pair_name, pairing_advice
from virnucpro.sequences.reader import Format, SequenceFile
from virnucpro.sequences.records import Kind, Read, Record

#: An input: a file, or the files of mates 1 and of mates 2.
Source = str | tuple[str, str]

_BAM_NAME = re.compile("[!-?A-~]{1,254}")


@dataclass(frozen=True)
class ReadOptions:
    """How inputs are read.

    Attributes:
        interleaved: whether mates alternate in a FASTA or FASTQ file that is given alone.
        fastq: whether every read must have qualities.
        bam: whether every name must be valid in BAM.
    """

    interleaved: bool = False
    fastq: bool = False
    bam: bool = False


#: Each record is a fragment; names and qualities are not checked.
PLAIN = ReadOptions()


class Mate(Struct, frozen=True):
    """A read of a fragment.

    Attributes:
        read: the read itself.
        file: the file that contains it.
        mate: 1 or 2 for a mate of a pair; 0 for a single read.
        pair: name of the pair; empty for a single read.
    """

    read: Read
    file: SequenceFile
    mate: int
    pair: str = ""

    @property
    def record(self) -> Record:
        """Header and letters."""
        return self.read.record

    @property
    def id(self) -> str:
        """The id of the fragment."""
        return self.pair or self.record.id

    def place(self) -> str:
        """Return where the read is, for messages."""
        at = f", line {self.read.line}" if self.read.line else ""
        return f"{self.file.name}: record {self.read.number} ({self.record.id}){at}"


Fragment = tuple[Mate] | tuple[Mate, Mate]


def paths_of(sources: Sequence[Source]) -> list[str]:
    """Return all files of the inputs."""
    return [path for s in sources for path in ((s,) if isinstance(s, str) else s)]


class FragmentReader:
    """Reads inputs one after the other; iterate over it for their fragments.

    Args:
        sources: FASTA, FASTQ or BAM files, `-` for standard input.
        kind: kind of the records.
        options: how the files are read.

    Attributes:
        formats: formats of the files of the current input.
        bytes_read: number of bytes of the files read so far.
        skipped: number of BAM lines skipped, because they are further alignments of a read.

    Raises:
        InputError: while iterating, if a file cannot be read or a mate is missing.
    """

    def __init__(
        self, sources: Sequence[Source], kind: Kind = "dna", options: ReadOptions = PLAIN
    ) -> None:
        self._sources, self._kind, self._options = sources, kind, options
        self.formats: tuple[Format, ...] = ()
        self.bytes_read = self.skipped = 0

    def __iter__(self) -> Iterator[Fragment]:
        for source in self._sources:
            bytes_before, skipped_before = self.bytes_read, self.skipped
            with ExitStack() as stack:
                files = [
                    stack.enter_context(SequenceFile(path, self._kind))
                    for path in paths_of([source])
                ]
                self.formats = tuple(file.format for file in files)
                if self._options.bam and self.formats == ("bam",):
                    _ = files[0].bam_header  # check the header, which is written too
                for fragment in self._checked(self._fragments(files)):
                    self.bytes_read = bytes_before + sum([file.position() for file in files])
                    yield fragment
                self.bytes_read = bytes_before + sum([file.position() for file in files])
                self.skipped = skipped_before + sum(file.skipped for file in files)

    def _fragments(self, files: list[SequenceFile]) -> Iterator[Fragment]:
        if len(files) == 2:
            return _in_step(*files)
        if files[0].format == "bam":
            return _as_flagged(files[0])
        if self._options.interleaved:
            return _interleaved(files[0])
        return ((Mate(read, files[0], 0),) for read in files[0].reads())

    def _checked(self, fragments: Iterator[Fragment]) -> Iterator[Fragment]:
        """Check that the reads can be written in the requested formats."""
        if not (self._options.fastq or self._options.bam):
            return fragments
        return map(self._check, fragments)

    def _check(self, fragment: Fragment) -> Fragment:
        for mate in fragment:
            if self._options.fastq and mate.record.sequence and not mate.read.qualities:
                raise InputError(f"{mate.place()}: has no qualities, which --reads fastq needs")
            if self._options.bam and not _BAM_NAME.fullmatch(mate.id):
                raise InputError(
                    f"{mate.place()}: BAM takes names of up to 254 letters from ! to ~ without @; "
                    "rename it, or omit --bam"
                )
        return fragment


def _in_step(first: SequenceFile, second: SequenceFile) -> Iterator[Fragment]:
    for file in (first, second):
        if file.format == "bam":
            raise InputError(f"{file.name}: BAM holds both mates of its pairs; give it as INPUT")
    reads, others = first.reads(), second.reads()
    for read in reads:
        mate, other = Mate(read, first, 1), next(others, None)
        if other is None:
            raise _ends_early(mate, second)
        yield _paired(mate, Mate(other, second, 2))
    left = next(others, None)
    if left is not None:
        raise _ends_early(Mate(left, second, 2), first)


def _ends_early(mate: Mate, other: SequenceFile) -> InputError:
    return InputError(
        f"{mate.place()}: has no mate, since {other.name} ends after record "
        f"{mate.read.number - 1}; give both files complete"
    )


def _interleaved(file: SequenceFile) -> Iterator[Fragment]:
    reads = file.reads()
    for read in reads:
        mate, other = Mate(read, file, 1), next(reads, None)
        if other is None:
            raise InputError(
                f"{mate.place()}: has no mate; an interleaved file holds both, one after the other"
            )
        yield _paired(mate, Mate(other, file, 2))


def _paired(mate: Mate, other: Mate) -> Fragment:
    headers = mate.record.header, other.record.header
    name = pair_name(*headers)
    if not name:
        raise InputError(
            f"{mate.place()}: its mate should be {other.place()}, but their names do not match; "
            f"{pairing_advice(*headers)}"
        )
    return replace(mate, pair=name), replace(other, pair=name)


def _as_flagged(file: SequenceFile) -> Iterator[Fragment]:
    reads = file.reads()
    for read in reads:
        mate = Mate(read, file, read.mate)
        if not read.mate:
            yield (mate,)
            continue
        following = next(reads, None)
        other = None if following is None else Mate(following, file, following.mate)
        if other is not None and {mate.mate, other.mate} == {1, 2}:
            first, second = sorted((mate, other), key=lambda each: each.mate)
            if name := pair_name(first.record.header, second.record.header):
                yield replace(first, pair=name), replace(second, pair=name)
                continue
        raise InputError(
            f"{mate.place()}: is flagged as a mate of a pair, but the other mate does not follow; "
            "group mates with samtools collate"
        )
