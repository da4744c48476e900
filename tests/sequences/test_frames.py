"""Open frames against a slow reference: one chunk, one frame and one codon at a time."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virnucpro.sequences import FRAME_NAMES, Frames, Nucleotides, find_frames

DATA = Path(__file__).parents[1] / "data"

CODONS_OF = {
    "F": "TTT TTC",
    "L": "TTA TTG CTT CTC CTA CTG",
    "S": "TCT TCC TCA TCG AGT AGC",
    "Y": "TAT TAC",
    "*": "TAA TAG TGA",
    "C": "TGT TGC",
    "W": "TGG",
    "P": "CCT CCC CCA CCG",
    "H": "CAT CAC",
    "Q": "CAA CAG",
    "R": "CGT CGC CGA CGG AGA AGG",
    "I": "ATT ATC ATA",
    "M": "ATG",
    "T": "ACT ACC ACA ACG",
    "N": "AAT AAC",
    "K": "AAA AAG",
    "V": "GTT GTC GTA GTG",
    "A": "GCT GCC GCA GCG",
    "D": "GAT GAC",
    "E": "GAA GAG",
    "G": "GGT GGC GGA GGG",
}
RESIDUE_OF = {codon: residue for residue, codons in CODONS_OF.items() for codon in codons.split()}
PARTNER = {"A": "T", "C": "G", "G": "C", "T": "A"}


class OpenFrame(NamedTuple):
    """One open frame of one chunk."""

    chunk: int
    frame: str
    protein: str
    dna: str


def reference_frames(chunk: int, sequence: str) -> list[OpenFrame]:
    """Translate one chunk letter by letter."""
    forward = sequence.upper().replace("U", "T")
    reverse = "".join(PARTNER.get(letter, letter) for letter in reversed(forward))
    found = []
    for name in ("F1", "F2", "F3", "R1", "R2", "R3"):
        strand = forward if name[0] == "F" else reverse
        offset = int(name[1]) - 1
        codons = [strand[i : i + 3] for i in range(offset, len(strand) - 2, 3)]
        protein = "".join(RESIDUE_OF.get(codon, "") for codon in codons)
        if protein and "*" not in protein:
            dna = strand[offset : offset + 3 * len(protein) + 1]
            found.append(OpenFrame(chunk, name, protein, dna))
    return found


def open_frames(frames: Frames) -> list[OpenFrame]:
    return [
        OpenFrame(int(chunk), FRAME_NAMES[frame], frames.protein(i), frames.dna[i])
        for i, (chunk, frame) in enumerate(zip(frames.chunk, frames.frame, strict=True))
    ]


def frames_of(records: list[str], windows: list[list[tuple[int, int]]]) -> list[OpenFrame]:
    """Find the frames of all windows of all records in one call."""
    sequences = Nucleotides.join(records)
    borders = [
        (int(shift) + start, int(shift) + end)
        for shift, of_record in zip(sequences.offsets[:-1], windows, strict=True)
        for start, end in of_record
    ]
    start, end = np.array(borders, dtype=np.int64).reshape(-1, 2).T
    return open_frames(find_frames(sequences, start, end))


def whole(records: list[str]) -> list[OpenFrame]:
    """Find the frames of records as one chunk each; an empty record has no chunk."""
    chunked = [i for i, record in enumerate(records) if record]
    found = frames_of(records, [[(0, len(record))] if record else [] for record in records])
    return [frame._replace(chunk=chunked[frame.chunk]) for frame in found]


letters = st.one_of(
    *[st.sampled_from("ACGT")] * 7, st.sampled_from("acgt"), st.sampled_from("NRYU-nryu")
)
#: Without T or A at the wrong place a frame stays open, so that long open frames are common.
open_letters = st.sampled_from("CCGGAN")
records = st.one_of(
    st.text(letters, max_size=60),
    st.text(open_letters, max_size=60),
    st.text(letters, max_size=2),
    st.just(""),
)


@st.composite
def chunked_records(draw: st.DrawFn) -> tuple[list[str], list[list[tuple[int, int]]]]:
    """Draw records and, for each, windows that may overlap, repeat or leave bases out."""
    drawn = draw(st.lists(records, min_size=1, max_size=6))
    windows = []
    for record in drawn:
        border = st.integers(0, len(record))
        pairs = draw(st.lists(st.tuples(border, border), max_size=4))
        windows.append([(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]])
    return drawn, windows


def test_the_reference_knows_all_codons() -> None:
    assert len(RESIDUE_OF) == 64
    assert len(set(RESIDUE_OF.values())) == 21


@settings(deadline=None, max_examples=150)
@given(chunked_records())
def test_windows_of_many_records_equal_the_reference(
    drawn: tuple[list[str], list[list[tuple[int, int]]]],
) -> None:
    sequences, windows = drawn
    pairs = zip(sequences, windows, strict=True)
    chunks = [record[start:end] for record, of_record in pairs for start, end in of_record]
    expected = [frame for i, chunk in enumerate(chunks) for frame in reference_frames(i, chunk)]
    assert frames_of(sequences, windows) == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(records, max_size=6))
@example([])
@example([""])
@example(["A"])
@example(["CC"])
@example(["CCC"])
@example(["", "C", "", "CC", "CCCC", ""])
def test_whole_records_equal_the_reference(sequences: list[str]) -> None:
    expected = [f for i, record in enumerate(sequences) for f in reference_frames(i, record)]
    assert whole(sequences) == expected


def test_an_empty_chunk_has_no_frame() -> None:
    assert frames_of(["CCCC"], [[(4, 4)]]) == []


@pytest.mark.parametrize("codon", sorted(RESIDUE_OF))
def test_each_codon(codon: str) -> None:
    proteins = {frame.frame: frame.protein for frame in whole([codon])}
    reverse = "".join(PARTNER[letter] for letter in reversed(codon))
    expected = {"F1": RESIDUE_OF[codon], "R1": RESIDUE_OF[reverse]}
    assert proteins == {name: residue for name, residue in expected.items() if residue != "*"}


def test_a_codon_with_another_letter_is_dropped_and_shortens_the_dna() -> None:
    frames = {frame.frame: frame for frame in whole(["CCCNCCGGGAC"])}
    assert frames["F1"].protein == "PG"
    assert frames["F1"].dna == "CCCNCCG"
    assert frames["R1"].protein == "VP"
    assert frames["R1"].dna == "GTCCCGG"


def test_the_reverse_complement_keeps_other_letters() -> None:
    found = [frame.dna for frame in whole(["uryCCC"]) if frame.frame == "R1"]
    assert found == ["GGGY"]


def test_frames_of_the_original_translate_to_its_proteins() -> None:
    sets = json.loads((DATA / "virnucpro_original.json").read_text())["sets"]
    entries = [entry for of_set in sets.values() for entry in of_set]
    found = {(f.chunk, f.frame): f.protein for f in whole([e["nucleotide"] for e in entries])}
    assert len(entries) == 8
    assert [found[i, "F1"] for i in range(len(entries))] == [e["protein"] for e in entries]


def test_frames_of_the_original_are_found_on_the_strand_their_id_names() -> None:
    sets = json.loads((DATA / "virnucpro_original.json").read_text())["sets"]
    for entry in (entry for of_set in sets.values() for entry in of_set):
        name = entry["id"][-2:]
        strand = "".join(PARTNER[letter] for letter in reversed(entry["nucleotide"]))
        chunk = entry["nucleotide"] if name[0] == "F" else strand
        found = {f.frame: f for f in whole([chunk])}
        frame = found[f"{name[0]}1"]
        assert (frame.protein, frame.dna) == (entry["protein"], entry["nucleotide"])
