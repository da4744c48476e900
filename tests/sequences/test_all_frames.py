"""Chunks of which all six frames are drawn as one."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import virnucpro
from virnucpro.sequences import DRAWN_NAMES, FrameRule, Frames, Nucleotides, find_frames
from virnucpro.sequences.frames import codon_span

LETTERS = st.sampled_from("ACGTACGTACGTacgtNn-R")
RECORDS = st.one_of(st.text(LETTERS, max_size=60), st.text(LETTERS, max_size=3))


def codons_of(chunk: str) -> int:
    """Count the codons of the three frames of a strand; the other strand has as many."""
    triplets = [chunk[i : i + 3].upper() for i in range(len(chunk) - 2)]
    return sum(set(triplet) <= set("ACGT") for triplet in triplets)


def check(frames: Frames, chunks: list[tuple[int, int, str]], least: int) -> None:
    """Compare frames with the chunks that should have them, given by their borders and letters."""
    drawn = [i for i, (*_, text) in enumerate(chunks) if codons_of(text) >= max(1, least)]
    assert frames.chunk.tolist() == drawn
    assert [DRAWN_NAMES[frame] for frame in frames.frame] == ["all"] * len(drawn)
    assert frames.first_codon.tolist() == [0] * len(drawn)
    assert frames.codons.tolist() == [len(chunks[i][2]) // 3 for i in drawn]
    assert frames.protein_offsets.tolist() == [0] * (len(drawn) + 1)
    assert len(frames.residues) == 0
    assert frames.dna == [""] * len(drawn)
    start, end = (np.array([chunks[i][k] for i in drawn], dtype=np.int64) for k in (0, 1))
    found = codon_span(frames.frame, frames.first_codon, frames.codons, start, end)
    assert [x.tolist() for x in found] == [start.tolist(), end.tolist()]


@settings(deadline=None, max_examples=200)
@given(st.lists(RECORDS, max_size=6), st.integers(0, 12))
@example([], 1)
@example([""], 1)
@example(["A"], 1)
@example(["ACGTACGT", "A"], 1)
@example(["ACGTACGT", "AC"], 1)
@example(["ACGTACGT", ""], 1)
@example(["NNNNNNNNN", "ACG", "ANC"], 0)
def test_records_with_enough_codons_are_drawn(records: list[str], least: int) -> None:
    sequences = Nucleotides.join(records)
    start, end = sequences.offsets[:-1], sequences.offsets[1:]
    frames = find_frames(sequences, start, end, FrameRule("all", least))
    borders = zip(start.tolist(), end.tolist(), strict=True)
    chunks = [(a, b, text) for (a, b), text in zip(borders, records, strict=True)]
    check(frames, chunks, least)


@settings(deadline=None, max_examples=200)
@given(st.text(LETTERS, min_size=1, max_size=80), st.data())
def test_a_chunk_is_drawn_for_its_own_codons(text: str, data: st.DataObject) -> None:
    border = st.integers(0, len(text))
    pairs = [sorted(p) for p in data.draw(st.lists(st.tuples(border, border), max_size=5))]
    start, end = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    least = data.draw(st.integers(0, 9))
    frames = find_frames(Nucleotides.join([text]), start, end, FrameRule("all", least))
    check(frames, [(a, b, text[a:b]) for a, b in pairs], least)


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(out / name, separator="\t", infer_schema_length=None)


@pytest.mark.parametrize("length", [500, 300])
def test_tables_of_a_run_have_a_frame_of_each_chunk_with_a_codon(
    tmp_path: Path, length: int
) -> None:
    random = np.random.default_rng(1)
    records = {
        "long": "".join(random.choice(list("ACGT"), size=1234)),
        "stops": "TAATTAATTAATTAA" * 20,
        "unknown": "N" * 400,
        "short": "ACG",
        "none": "AC",
        "last": "A",
    }
    path, out = tmp_path / "reads.fa", tmp_path / "out"
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters in records.items()))
    summary = virnucpro.predict(path, out, device="cpu", chunk_length=length, report=False)
    assert summary.calls["unscored"] == 3
    frames, chunks = table(out, "frames.tsv"), table(out, "chunks.tsv")
    scored = chunks.filter(pl.col("open_frames") > 0)
    assert set(scored["record"]) == {"long", "stops", "short"}
    assert set(frames["frame"]) == {"all"}
    columns = ["record", "chunk", "start", "end"]
    assert frames.select(columns).rows() == scored.select(columns).rows()
    assert frames["protein_length"].to_list() == [0] * len(frames)
    assert frames["p_virus"].to_list() == scored["p_virus"].to_list()
    assert chunks.filter(pl.col("record") == "long")["end"].max() == len(records["long"])
