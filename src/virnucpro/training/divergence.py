"""Codons replaced as evolution replaces them: fragments stand for relatives never sequenced.

Genes are not known; the longest stretch of codons without a stop through a base stands for one.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.sequences import OTHER_BASE
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES

#: What a codon that begins at a base is part of.
NO_GENE, FORWARD, REVERSE = 0, 1, 2
#: Codons of the shortest stretch that stands for a gene.
LEAST_CODONS = 80
#: How much rarer a codon is for each further base that differs.
_FURTHER_BASE = 0.2
#: Replacements that are kept for each codon, one as likely as another.
_DRAWS = 256
#: Half bits of how much oftener residues replace each other than by chance, in the order below;
#: source: BLOSUM62, Henikoff and Henikoff, PNAS 89:10915 (1992).
_BLOSUM_RESIDUES = "ARNDCQEGHILKMFPSTWYV"
_BLOSUM62 = """
4
-1 5
-2 0 6
-2 -2 1 6
0 -3 -3 -3 9
-1 1 0 0 -3 5
-1 0 0 2 -4 2 5
0 -2 0 -1 -3 -2 -2 6
-2 0 1 -1 -3 0 0 -2 8
-1 -3 -3 -3 -1 -3 -3 -4 -3 4
-1 -2 -3 -4 -1 -2 -3 -4 -3 2 4
-1 2 0 -1 -3 1 1 -2 -1 -3 -2 5
-1 -1 -2 -3 -1 0 -2 -3 -2 1 2 -1 5
-2 -3 -3 -3 -2 -3 -3 -3 -1 0 0 -3 0 6
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4 7
1 -1 1 0 -1 0 0 0 -1 -2 -2 0 -1 -2 -1 4
0 -1 0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1 1 5
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1 1 -4 -3 -2 11
-2 -2 -2 -3 -2 -1 -2 -3 2 -1 -1 -2 -1 3 -3 -2 -2 2 7
0 -3 -3 -3 -1 -2 -2 -3 -3 3 1 -2 1 -1 -2 -2 0 -3 -1 4
"""

_STOP = RESIDUES.index("*")
_Codons = TypeVar("_Codons", NDArray[np.int64], Tensor)


def replacements() -> Tensor:
    """Return what may replace each codon, shape (64, 256), uint8; stops replace themselves.

    A codon is the likelier, the likelier its residue is in the place of the other, and the fewer
    bases differ.
    """
    likelier = np.zeros((len(RESIDUES), len(RESIDUES)))
    order = [RESIDUES.index(residue) for residue in _BLOSUM_RESIDUES]
    for i, line in enumerate(_BLOSUM62.split("\n")[1:-1]):
        for j, half_bits in enumerate(line.split()):
            a, b = order[i], order[j]
            likelier[a, b] = likelier[b, a] = 2 ** (int(half_bits) / 2)
    differ = sum(np.not_equal.outer(x, x).astype(int) for x in _split(np.arange(64)))
    odds = likelier[np.ix_(RESIDUE_OF_CODON, RESIDUE_OF_CODON)] * _FURTHER_BASE**differ
    np.fill_diagonal(odds, RESIDUE_OF_CODON == _STOP)
    cumulative = np.cumsum(odds, axis=1) / odds.sum(axis=1, keepdims=True)
    places = (np.arange(_DRAWS) + 0.5) / _DRAWS
    drawn = [np.searchsorted(row, places, side="right") for row in cumulative]
    return torch.from_numpy(np.stack(drawn).astype(np.uint8))


def genes_of(bases_N: Tensor) -> Tensor:
    """Return of which gene each codon is, `NO_GENE`, `FORWARD` or `REVERSE`, shape (N,), uint8.

    Args:
        bases_N: numbers of the bases of records, one or more that are no base between two.
    """
    codon_N, is_broken_N = _codons(bases_N)
    device, count = bases_N.device, len(bases_N)
    longest_N = torch.full((count,), LEAST_CODONS - 1, dtype=torch.int32, device=device)
    frame_N = torch.zeros(count, dtype=torch.uint8, device=device)
    number = torch.arange(count, device=device) % 3
    is_stop = RESIDUE_OF_CODON == _STOP
    for strand, ends in enumerate((is_stop, is_stop[_turned(np.arange(64))])):
        is_end_N = is_broken_N | torch.from_numpy(ends).to(device)[codon_N]
        for phase in range(3):
            runs = _run_lengths(is_end_N[phase::3]).repeat_interleave(3)[: count - phase]
            is_longer = runs > longest_N[phase:]
            longest_N[phase:] = torch.where(is_longer, runs, longest_N[phase:])
            label = 1 + phase + 3 * strand
            frame_N[phase:] = torch.where(is_longer, label, frame_N[phase:])
    genes_N = torch.zeros(count, dtype=torch.uint8, device=device)
    for strand, gene in enumerate((FORWARD, REVERSE)):
        is_of = frame_N == 1 + number + 3 * strand
        whole = is_of[:-2] & (frame_N[1:-1] == frame_N[:-2]) & (frame_N[2:] == frame_N[:-2])
        genes_N[:-2][whole] = gene
    return genes_N


def diverge(bases_BL: Tensor, genes_BL: Tensor, share_B: Tensor, replacements: Tensor) -> Tensor:
    """Replace a share of the codons of the genes of each fragment.

    Args:
        bases_BL: numbers of bases.
        genes_BL: the gene of the codon that begins at each, whole within the fragment.
        share_B: of each fragment.
        replacements: see there, on the same device.
    """
    first, second, third = (bases_BL[:, i : bases_BL.shape[1] - 2 + i].int() for i in range(3))
    genes = genes_BL[:, :-2]
    here = (16 * first + 4 * second + third).clamp(max=63)
    codon = torch.where(genes == REVERSE, _turned(here), here)
    other = replacements[codon, torch.randint(_DRAWS, codon.shape, device=codon.device)].long()
    other = torch.where(genes == REVERSE, _turned(other), other)
    is_drawn = torch.rand(genes.shape, device=genes.device) < share_B[:, None]
    is_drawn &= genes != NO_GENE
    found_BL = bases_BL.clone()
    for i, part in enumerate(_split(other)):
        there = found_BL[:, i : i + genes.shape[1]]
        there.copy_(torch.where(is_drawn, part.to(there.dtype), there))
    return found_BL


def _codons(bases_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the codon that begins at each base, and whether it is none."""
    after = torch.full((2,), OTHER_BASE, dtype=bases_N.dtype, device=bases_N.device)
    longer = torch.cat([bases_N, after])
    parts = [longer[i : len(longer) - 2 + i] for i in range(3)]
    is_broken_N = (parts[0] == OTHER_BASE) | (parts[1] == OTHER_BASE) | (parts[2] == OTHER_BASE)
    codon_N = (16 * parts[0] + 4 * parts[1] + parts[2]).clamp(max=63)
    return codon_N.int(), is_broken_N


def _run_lengths(is_end: Tensor) -> Tensor:
    """Return how many follow each other without an end, at each of them; 0 at an end."""
    count = len(is_end)
    place = torch.arange(count, dtype=torch.int32, device=is_end.device)
    before = torch.where(is_end, place, -1).cummax(0).values
    after = torch.where(is_end, place, count).flip(0).cummin(0).values.flip(0)
    return torch.where(is_end, 0, after - before - 1).int()


def _split(codons: _Codons) -> tuple[_Codons, _Codons, _Codons]:
    """Return the three bases of codons."""
    return codons // 16, codons // 4 % 4, codons % 4


def _turned(codons: _Codons) -> _Codons:
    """Return the codons that the other strand has in their places."""
    first, second, third = _split(codons)
    return 63 - (16 * third + 4 * second + first)
