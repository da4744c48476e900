"""Genes found and codons replaced, against loops over strings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.sequences import BASE_NUMBERS
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES
from virnucpro.training import divergence
from virnucpro.training.classes import ClassData, class_data
from virnucpro.training.divergence import FORWARD, REVERSE, diverge, genes_of, replacements
from virnucpro.training.windows import Library

STOP = RESIDUES.index("*")
STOPS = {"TAA", "TAG", "TGA"}
COMPLEMENT = str.maketrans("ACGT", "TGCA")
PLAIN = [codon for codon, residue in enumerate(RESIDUE_OF_CODON) if residue != STOP]


def turned(text: str) -> str:
    """Return the other strand."""
    return text.translate(COMPLEMENT)[::-1]


def numbers(text: str) -> torch.Tensor:
    """Return the numbers of bases."""
    return torch.from_numpy(BASE_NUMBERS[np.frombuffer(text.encode(), np.uint8)])


def letters(bases: torch.Tensor) -> str:
    """Return the bases that numbers stand for."""
    return "".join("ACGTN"[base] for base in bases.tolist())


def runs_at(text: str, place: int) -> dict[tuple[int, int], int]:
    """Return the codons without a stop around a base, by first base modulo 3 and strand."""
    found = {}
    for strand in (FORWARD, REVERSE):
        for first in range(place - 2, place + 1):

            def is_open(start: int, strand: int = strand) -> bool:
                codon = text[start : start + 3] if start >= 0 else ""
                codon = turned(codon) if strand == REVERSE else codon
                return len(codon) == 3 and "N" not in codon and codon not in STOPS

            count, at = 0, first
            while is_open(at):
                count, at = count + 1, at + 3
            at = first - 3
            while count and is_open(at):
                count, at = count + 1, at - 3
            found[first % 3, strand] = count
    return found


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(alphabet="ACGTN", min_size=1, max_size=60), min_size=1, max_size=4))
def test_a_gene_is_the_longest_stretch_through_all_bases_of_a_codon(records: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(divergence, "LEAST_CODONS", 3)
        found = genes_of(numbers("N".join(records))).tolist()
    assert len(found) == len("N".join(records))
    start_of = 0
    for record in records:
        genes = found[start_of : start_of + len(record)]
        start_of += len(record) + 1
        assert not any(genes[-2:])
        for start in range(len(record) - 2):
            runs = [runs_at(record, start + i) for i in range(3)]
            for strand in (FORWARD, REVERSE):
                own = runs[0][start % 3, strand]
                if genes[start] == strand:
                    assert own >= 3
                    assert all(own == max(run.values()) for run in runs)
                elif own >= 3 and all(
                    own > max(length for at, length in run.items() if at != (start % 3, strand))
                    for run in runs
                ):
                    pytest.fail(f"{record} {start}: {runs}")


def test_replacements_are_other_codons_of_likely_residues() -> None:
    table = replacements()
    assert table.shape == (64, 256)
    same = []
    for codon, row in enumerate(table.tolist()):
        residues = RESIDUE_OF_CODON[row]
        if RESIDUE_OF_CODON[codon] == STOP:
            assert set(row) == {codon}
            continue
        assert codon not in row
        assert STOP not in residues
        same.append((residues == RESIDUE_OF_CODON[codon]).mean())
    assert 0.3 < np.mean(same) < 0.8
    leucine = RESIDUES.index("L")
    codon = int(np.flatnonzero(leucine == RESIDUE_OF_CODON)[0])
    counts = np.bincount(RESIDUE_OF_CODON[table[codon].tolist()], minlength=len(RESIDUES))
    by_letter = dict(zip(RESIDUES, counts.tolist(), strict=True))
    assert by_letter["L"] > by_letter["I"] > by_letter["D"]


@pytest.fixture(scope="module")
def classes() -> list[ClassData]:
    """Return genes of 400 codons that no other frame reads as long, on either strand."""
    random = np.random.default_rng(1)
    texts = []
    for _ in range(6):
        codons = random.choice(PLAIN, 400)
        text = "".join("ACGT"[c // 16] + "ACGT"[c // 4 % 4] + "ACGT"[c % 4] for c in codons)
        texts.append(text)
    return [
        class_data("other", label=False, letters=[turned(text) for text in texts]),
        class_data("virus", label=True, letters=texts),
    ]


@pytest.mark.parametrize("length", [150, 500])
def test_what_is_replaced_leaves_genes_open(classes: list[ClassData], length: int) -> None:
    torch.manual_seed(length)
    fragments = Library(classes, torch.device("cpu")).cut(400, length)
    share_B = torch.linspace(0, 0.8, 400)
    found = diverge(fragments.bases_BL, fragments.genes_BL, share_B, replacements())
    changed = []
    for row in range(400):
        before, after = letters(fragments.bases_BL[row]), letters(found[row])
        genes = fragments.genes_BL[row].numpy()
        strand = int(np.bincount(genes[genes > 0], minlength=3).argmax())
        starts = np.flatnonzero(genes == strand)
        assert len(starts) > 0.8 * length / 3 - 2
        codons = [(before[i : i + 3], after[i : i + 3]) for i in starts.tolist()]
        if strand == REVERSE:
            codons = [(turned(old), turned(new)) for old, new in codons]
        assert not STOPS & {codon for pair in codons for codon in pair}
        changed.append(np.mean([old != new for old, new in codons]))
        untouched = np.ones(length, dtype=bool)
        for start in np.flatnonzero(genes):
            untouched[start : start + 3] = False
        kept = np.array(list(before)) == np.array(list(after))
        assert kept[untouched].all()
    assert changed[0] == 0
    assert np.corrcoef(changed, share_B)[0, 1] > 0.9
    assert np.mean(changed) == pytest.approx(0.4, abs=0.03)
