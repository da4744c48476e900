"""GenBank flat files: sequences, their coding exons, and which frames lie in an exon.

The original VirNucPro trains on frames in annotated coding sequences (Li et al., Briefings in
Bioinformatics 2025). Format: https://www.insdc.org/submitting-standards/feature-table/.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError, SettingsError
from virnucpro.sequences.decompression import open_content
from virnucpro.sequences.nucleotides import as_dna
from virnucpro.sequences.records import foreign_problem

if TYPE_CHECKING:
    from Bio.SeqFeature import SeqFeature
    from Bio.SeqRecord import SeqRecord

Int64 = NDArray[np.int64]

#: Number of bytes in which the first LOCUS line is searched: files of GenBank's releases begin with
#: a few lines about the release.
_HEAD = 4096
#: Warnings of Biopython which mean that letters are missing.
_INCOMPLETE = "Expected sequence length|Premature end"


class Exon(NamedTuple):
    """Consecutive bases of one coding sequence.

    Attributes:
        start: first base on the record's forward strand, 0-based.
        end: one past the last base.
        strand: 1 forward, -1 reverse.
        phase: number of bases before the first whole codon, in the direction of the exon.
    """

    start: int
    end: int
    strand: int
    phase: int


class AnnotatedRecord(NamedTuple):
    """One record of a GenBank file.

    Attributes:
        id: accession with version, or the name in the LOCUS line if it has no accession.
        sequence: letters in upper case, with T for U.
        exons: exons of all coding sequences without pseudogenes.
    """

    id: str
    sequence: str
    exons: tuple[Exon, ...]


def is_genbank(path: str) -> bool:
    """Return whether the content of a file, plain or compressed, is a GenBank flat file.

    False for streams and for damaged or missing files.
    """
    if not Path(path).is_file():
        return False
    try:
        with open_content(path) as file:
            head = file.read(_HEAD).lstrip()
    except Exception:  # noqa: BLE001 (the reader of the file reports what is wrong)
        return False
    return head.startswith(b"LOCUS ") or (b"\nLOCUS " in head and head[:1] not in b">@")


def read_genbank(path: str) -> Iterator[AnnotatedRecord]:
    """Yield the records of a GenBank flat file, plain or compressed.

    Args:
        path: path of the file.

    Raises:
        InputError: the file is damaged, a record has no letters, or the location of a coding
            sequence is invalid. The message names the file and the record.
        SettingsError: Biopython is not installed.
    """
    try:
        from Bio import SeqIO  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError:
        raise SettingsError(
            f"{path}: GenBank needs Biopython; pip install 'virnucpro[train]'"
        ) from None
    with ExitStack() as stack:
        with _problem_named(path, 1):
            content = stack.enter_context(open_content(path))
            text = stack.enter_context(TextIOWrapper(content, "utf-8", errors="replace"))
            records = SeqIO.parse(text, "genbank")
        for number in count(1):
            with _problem_named(path, number):
                found = next(records, None)
            if found is None:
                return
            with _problem_named(path, number, found.id or found.name):
                record = _annotated(found)
                if number == 1:
                    _refuse_foreign(record.sequence)
            yield record


@contextmanager
def _problem_named(path: str, number: int, name: str = "") -> Iterator[None]:
    """Raise InputError with file and record for any exception of the parser."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", _INCOMPLETE)
            yield
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read at record {number} ({reason})") from error
    except Exception as error:
        where = f"record {number} ({name})" if name else f"record {number}"
        reason = str(error)[:200] or type(error).__name__
        raise InputError(f"{path}: {where}: is not valid GenBank ({reason})") from error


def _annotated(record: "SeqRecord") -> AnnotatedRecord:
    name = record.id if record.id and record.id != "<unknown id>" else record.name
    if record.seq is None or not record.seq.defined:
        raise ValueError("it has no letters: fetch the file with sequences")
    sequence = as_dna(str(record.seq))
    exons = [
        exon
        for feature in record.features
        if feature.type == "CDS" and not {"pseudo", "pseudogene"} & feature.qualifiers.keys()
        for exon in _exons(feature, len(sequence))
    ]
    return AnnotatedRecord(name, sequence, tuple(exons))


def _exons(feature: "SeqFeature", length: int) -> Iterator[Exon]:
    """Yield the exons of a coding sequence; none if their order is unknown."""
    location = feature.location
    if location is None:
        raise ValueError("the location of a CDS cannot be read")
    if getattr(location, "operator", "join") == "order":
        return
    codon_start = feature.qualifiers.get("codon_start", ["1"])[0]
    if codon_start not in {"1", "2", "3"}:
        raise ValueError(f"CDS {location}: codon_start is {codon_start!r}, not 1, 2 or 3")
    skipped = int(codon_start) - 1
    for part in location.parts:
        start, end = int(part.start), int(part.end)
        if part.ref is None:
            if not 0 <= start <= end <= length:
                raise ValueError(f"CDS {location} does not lie on the record's {length} bases")
            yield Exon(start, end, part.strand or 1, skipped % 3)
        skipped -= end - start


def _refuse_foreign(sequence: str) -> None:
    problem = foreign_problem(sequence, "dna")
    if problem:
        raise ValueError(f"{problem}; is this protein? Give DNA")


class CodingIndex:
    """Finds which of many frames lie in a coding exon, on its strand and in its phase.

    Each strand and position modulo 3 has a lane, in which all records follow each other. An exon
    that contains a frame starts at or before it; so the furthest end of the exons that start there
    decides.

    Args:
        exons: exons of each record; None for a record without annotation, in which every frame
            counts as coding.
        lengths: number of bases of each record.
    """

    def __init__(self, exons: Sequence[Sequence[Exon] | None], lengths: Sequence[int]) -> None:
        self._is_unannotated = np.array([e is None for e in exons], dtype=np.bool_)
        self._offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = [(i, *exon) for i, found in enumerate(exons) for exon in found or ()]
        record, start, end, strand, phase = np.array(rows, dtype=np.int64).reshape(-1, 5).T
        is_reverse = strand < 0
        first = np.where(is_reverse, end - phase, start + phase)
        base = self._lane(record, first, is_reverse)
        order = np.argsort(base + start)
        self._starts = np.concatenate([[-1], (base + start)[order]])
        self._reach = np.maximum.accumulate(np.concatenate([[-1], (base + end)[order]]))

    def _lane(self, record: Int64, first: Int64, is_reverse: NDArray[np.bool_]) -> Int64:
        """Return the offset of the record in the lane of the codons that begin at `first`."""
        base: Int64 = (3 * is_reverse + first % 3) * self._offsets[-1] + self._offsets[record]
        return base

    def lies_in_coding(
        self, record: Int64, start: Int64, end: Int64, frame: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Return for each frame whether all its codons are codons of one exon.

        Args:
            record: index of the record of each frame.
            start: first base of its codons on the forward strand of the record.
            end: one past the last base of its codons.
            frame: 0 to 5 for F1..F3, R1..R3 (`virnucpro.sequences.FRAME_NAMES`).

        Returns:
            one value per frame; false if the frame has no codon.
        """
        is_reverse = frame >= 3
        base = self._lane(record, np.where(is_reverse, end, start), is_reverse)
        before = np.searchsorted(self._starts, base + start, side="right") - 1
        is_inside = self._reach[before] >= base + end
        inside: NDArray[np.bool_] = (end > start) & (is_inside | self._is_unannotated[record])
        return inside
