"""The genetic code in numbers: codon 16 a + 4 b + c of bases a, b, c, with A, C, G, T as 0 to 3."""

import numpy as np
from numpy.typing import NDArray

#: Letters of the residues in the order of their numbers; the stop is last.
RESIDUES = "ACDEFGHIKLMNPQRSTVWY*"
#: NCBI translation table 1; each position of a codon runs through T, C, A, G in this order.
_TABLE_1 = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"


def _residue_of_codon() -> NDArray[np.uint8]:
    order = ["TCAG".index(base) for base in "ACGT"]
    letters = (_TABLE_1[16 * a + 4 * b + c] for a in order for b in order for c in order)
    return np.array([RESIDUES.index(letter) for letter in letters], dtype=np.uint8)


#: Number of the residue of each of the 64 codons.
RESIDUE_OF_CODON = _residue_of_codon()
