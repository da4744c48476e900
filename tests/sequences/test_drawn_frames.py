"""Stretches without a stop and whole frames, against the same done with strings."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.sequences import FRAME_NAMES, FrameRule, Frames, Nucleotides, find_frames
from virnucpro.sequences.frames import FrameKind

CODES = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = {
    a + b + c: CODES[16 * i + 4 * j + k]
    for i, a in enumerate("TCAG")
    for j, b in enumerate("TCAG")
    for k, c in enumerate("TCAG")
}
COMPLEMENT = str.maketrans("ACGT", "TGCA")
DNA = st.text(alphabet="ACGT", min_size=0, max_size=120)
Drawn = tuple[str, int, int, str, str]


def by_strings(chunk: str, rule: FrameRule) -> list[Drawn]:
    """Return frame, first codon, codons, protein and DNA of each frame drawn."""
    found = []
    for frame, name in enumerate(FRAME_NAMES):
        strand = chunk if frame < 3 else chunk.translate(COMPLEMENT)[::-1]
        strand = strand[frame % 3 :]
        triplets = [strand[i : i + 3] for i in range(0, len(strand) - 2, 3)]
        # A dropped codon is a space for now.
        text = "".join(CODONS.get(triplet, " ") for triplet in triplets)
        stretches = [(0, text)]
        if rule.kind == "segments":
            stretches = [(m.start(), m.group()) for m in re.finditer(r"[^*]+", text)]
        sized = [(len(re.sub(r"[ *]", "", t)), -at, t) for at, t in stretches]
        best = max(sized, default=(0, 0, ""))
        if best[0] >= max(1, rule.least_residues):
            first, codons = -best[1], len(best[2])
            dna = strand[3 * first : 3 * (first + codons)]
            found.append((name, first, codons, best[2].replace(" ", ""), dna))
    return found


def drawn(frames: Frames, chunk: int) -> list[Drawn]:
    return [
        (
            FRAME_NAMES[frames.frame[i]],
            int(frames.first_codon[i]),
            int(frames.codons[i]),
            frames.protein(i),
            frames.dna[i],
        )
        for i in np.flatnonzero(frames.chunk == chunk).tolist()
    ]


@pytest.mark.parametrize("kind", ["segments", "whole"])
@given(chunks=st.lists(DNA, min_size=1, max_size=4), least=st.integers(0, 12))
def test_frames_are_drawn_as_by_strings(kind: FrameKind, chunks: list[str], least: int) -> None:
    sequences = Nucleotides.join(chunks)
    rule = FrameRule(kind, least)
    frames = find_frames(sequences, sequences.offsets[:-1], sequences.offsets[1:], rule)
    for i, chunk in enumerate(chunks):
        assert drawn(frames, i) == by_strings(chunk, rule)


@given(st.text(alphabet="ACGTN", min_size=3, max_size=90))
def test_letters_that_are_no_base_drop_their_codon(chunk: str) -> None:
    sequences = Nucleotides.join([chunk])
    for kind in ("segments", "whole"):
        rule = FrameRule(kind)
        frames = find_frames(sequences, sequences.offsets[:-1], sequences.offsets[1:], rule)
        assert drawn(frames, 0) == by_strings(chunk, rule)


@given(st.text(alphabet="ACGT", min_size=3, max_size=90))
def test_an_open_frame_is_its_own_longest_stretch(chunk: str) -> None:
    sequences = Nucleotides.join([chunk])
    starts, ends = sequences.offsets[:-1], sequences.offsets[1:]
    opened = find_frames(sequences, starts, ends)
    stretches = {
        x[0]: x for x in drawn(find_frames(sequences, starts, ends, FrameRule("segments")), 0)
    }
    for name, first, codons, protein, _ in drawn(opened, 0):
        assert (first, stretches[name][:4]) == (0, (name, 0, codons, protein))
