"""Records as they are read from a file, and what can be wrong with one of them."""

import re
from typing import Literal, NamedTuple

from msgspec import Struct

from virnucpro.errors import InputError, printable
from virnucpro.sequences.nucleotides import foreign_letters
from virnucpro.sequences.proteins import foreign_residues

#: Kind of the records of a file.
Kind = Literal["protein", "dna"]
#: A backslash that begins what looks like an escaped character. Bytes that are not UTF-8 are
#: exempt: the reader itself escapes them, as `\x80` to `\xff`.
_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-7][0-9a-f]|u[0-9a-f]{4}|U[0-9a-f]{8})")


class Record(NamedTuple):
    """One sequence of an input file.

    Attributes:
        header: the whole header line without its first character; the read name in BAM.
        sequence: the letters as in the file, without line breaks; in BAM, as the sequencer read
            them. A byte that is not ASCII is one letter of Latin-1.
    """

    header: str
    sequence: str

    @property
    def id(self) -> str:
        """The first word of the header."""
        return record_id(self.header)


class Read(Struct, frozen=True, gc=False):
    """A record with everything that its file says about it.

    Attributes:
        record: header and letters.
        number: number of the record in the file, from 1.
        qualities: quality of each letter, as FASTQ writes them; empty if there are none.
        mate: 1 or 2 if the file itself says which mate of a pair this is, as BAM does; else 0.
        line: line on which the record begins, from 1; 0 in BAM.
        problem: a problem of this record alone; empty if there is none.
    """

    record: Record
    number: int
    qualities: str = ""
    mate: int = 0
    line: int = 0
    problem: str = ""


class RecordError(InputError):
    """A record is so malformed that the rest of its file cannot be read.

    Args:
        what: the problem, without the place.
        line: line of the problem, from 1; 0 if the file has no lines.
    """

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(what)
        self.line = line


def record_id(header: str) -> str:
    """Return the first word of a header, printable; `unnamed` if the header is empty."""
    words = header.split(maxsplit=1)
    return printable_id(words[0]) if words else "unnamed"


def printable_id(word: str) -> str:
    r"""Return a word as an id that every table, terminal and browser can show.

    Characters that cannot be printed are escaped (`errors.printable`). Different words have
    different ids: if a word already contains the text of an escape, such as `\x1b`, its backslash
    is written as `\x5c`.
    """
    if "\\" in word:
        word = _LOOKS_ESCAPED.sub(r"\\x5c", word)
    return printable(word)


def foreign_problem(sequence: str, kind: Kind) -> str:
    """Return a problem that names the letters of a record that its kind lacks, or nothing."""
    foreign = foreign_letters(sequence) if kind == "dna" else foreign_residues(sequence)
    what = "nucleotides" if kind == "dna" else "residues"
    return f"letters that are not {what} ({foreign[:12]!r})" if foreign else ""


def read_problem(read: Read, kind: Kind) -> str:
    """Return why a read cannot be processed; empty if it can."""
    if read.problem:
        return read.problem
    if not read.record.sequence.rstrip("*"):
        return "has no bases" if kind == "dna" else "has no residues"
    return foreign_problem(read.record.sequence, kind)
