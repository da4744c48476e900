"""Records as they come from a file, and what may be wrong with one of them."""

from typing import Literal, NamedTuple

from msgspec import Struct

from virnucpro.errors import InputError
from virnucpro.sequences.ids import printable_id
from virnucpro.sequences.nucleotides import foreign_letters
from virnucpro.sequences.proteins import foreign_residues

#: What the records of a file are.
Kind = Literal["protein", "dna"]


class Record(NamedTuple):
    """One sequence of an input file.

    Attributes:
        header: the whole header line without its first character; of BAM the name.
        sequence: its letters as in the file, line breaks removed; of BAM as they were read. A
            byte that is not ASCII is a question mark.
    """

    header: str
    sequence: str

    @property
    def id(self) -> str:
        """The header's first word."""
        return record_id(self.header)


class Read(Struct, frozen=True, gc=False):
    """A record with all that its file says of it.

    Attributes:
        record: header and letters.
        number: of the record in the file, from 1.
        qualities: of each letter, as FASTQ writes them; empty where there are none.
        mate: 1 or 2 where the file itself says which of a pair it is, as BAM does; else 0.
        line: on which it begins, from 1; 0 of BAM.
        problem: what its file has wrong about it alone; nothing where all is well.
    """

    record: Record
    number: int
    qualities: str = ""
    mate: int = 0
    line: int = 0
    problem: str = ""


class RecordError(InputError):
    """A record after which its file cannot be read on.

    Args:
        what: is wrong, without the place.
        line: where, from 1; 0 where there are no lines.
    """

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(what)
        self.line = line


def record_id(header: str) -> str:
    """Return the first word of a header, printable, or `unnamed` where there is none."""
    words = header.split(maxsplit=1)
    return printable_id(words[0]) if words else "unnamed"


def foreign_problem(sequence: str, kind: Kind) -> str:
    """Say which letters of a record are not of its kind; nothing where all are."""
    foreign = foreign_letters(sequence) if kind == "dna" else foreign_residues(sequence)
    what = "nucleotides" if kind == "dna" else "residues"
    return f"letters that are not {what} ({foreign[:12]!r})" if foreign else ""


def read_problem(read: Read, kind: Kind) -> str:
    """Say why a read cannot be processed; nothing where it can."""
    if read.problem:
        return read.problem
    if not read.record.sequence.rstrip("*"):
        return "has no bases" if kind == "dna" else "has no residues"
    return foreign_problem(read.record.sequence, kind)
