"""The letters of nucleotide sequences, and many sequences as one array.

U is read as T everywhere, so RNA and the same sequence written as DNA have the same results. X
(in masked sequences) and `.` (from old base callers) are read as N.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Letters of nucleotide records: the four bases, U, the IUPAC ambiguity codes, the gap, and the
#: letters that some programs write instead of N.
NUCLEOTIDE_LETTERS = "ACGTURYSWKMBDHVN-X."

#: Number of any letter except A, C, G, T and U.
OTHER_BASE = 4
#: Number of each letter: 0 to 3 for A, C, G, T in upper or lower case; U counts as T.
BASE_NUMBERS = np.full(256, OTHER_BASE, dtype=np.uint8)
BASE_NUMBERS[list(b"ACGTUacgtu")] = (0, 1, 2, 3, 3, 0, 1, 2, 3, 3)


def _letter_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    upper = np.arange(256, dtype=np.uint8)
    upper[ord("a") : ord("z") + 1] -= 32
    upper[[ord("u"), ord("U")]] = ord("T")
    upper[[ord("x"), ord("X"), ord(".")]] = ord("N")
    complement = upper.copy()
    for base, partner in ("AT", "CG", "GC", "TA"):
        complement[[ord(base), ord(base.lower())]] = ord(partner)
    return upper, complement


_AS_DNA, _COMPLEMENT = _letter_tables()
_DELETE_NUCLEOTIDES = str.maketrans("", "", NUCLEOTIDE_LETTERS + NUCLEOTIDE_LETTERS.lower())


def foreign_letters(sequence: str) -> str:
    """Return the letters of `sequence` that are not nucleotides, sorted, each once."""
    return "".join(sorted(set(sequence.translate(_DELETE_NUCLEOTIDES))))


def as_dna(sequence: str) -> str:
    """Return a sequence as the networks read it: in upper case, U as T, X and `.` as N."""
    return sequence.upper().replace("U", "T").replace("X", "N").replace(".", "N")


class Nucleotides(NamedTuple):
    """Sequences laid end to end.

    Attributes:
        letters_N: ASCII letters in upper case, U as T, X and `.` as N, uint8.
        offsets: start of each sequence, int64, with one more entry than sequences.
    """

    letters_N: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def join(cls, sequences: Sequence[str]) -> "Nucleotides":
        """Lay ASCII `sequences` end to end, in upper case, U as T, X and `.` as N."""
        letters_N = _AS_DNA[np.frombuffer("".join(sequences).encode("ascii"), dtype=np.uint8)]
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        return cls(letters_N, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def forward_text(self) -> str:
        """Return all letters as one string."""
        return self.letters_N.tobytes().decode("ascii")

    def reverse_text(self) -> str:
        """Return the reverse complement of all letters; only A, C, G and T are complemented."""
        return _COMPLEMENT[self.letters_N][::-1].tobytes().decode("ascii")


def base_counts(letters: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the number of G and C and the number of all bases of S sequences, shape (S, 2)."""
    kinds = b"GCgc", b"ACGTUacgtu"
    counts = [[len(text) - len(text.translate(None, kind)) for kind in kinds] for text in letters]
    return np.array(counts, np.int64).reshape(-1, 2)
