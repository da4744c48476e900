"""Names of records where files need unique ones, and where formats keep some for themselves."""

from pathlib import Path

import pytest

from made_shards import LEGACY_CHUNKS, LEGACY_FRAMES, Chunk, Frame, Piece, merge
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.report.finished_runs import read_findings


def contig(number: int, name: str, p_virus: float, header: str = "") -> Piece:
    """Return a record whose middle is viral, or all of it."""
    scores = [p_virus] * 10 + [0.9] * 10 + [p_virus] * 10
    chunks = [
        Chunk(300 * k, 300 * k + 300, [Frame("F1", 99, 1 - p, p)]) for k, p in enumerate(scores)
    ]
    return Piece(number, name, 9000, chunks, f">{header or name}\nACGT\n" if p_virus > 0.5 else "")


def first_cells(path: Path) -> list[str]:
    """Return the different first cells of a table, in order."""
    return list(dict.fromkeys(line.split("\t")[0] for line in path.read_text().splitlines()))


@pytest.mark.parametrize("shards", ["one shard", "a shard each"])
def test_records_of_one_id_are_told_apart_by_name(tmp_path: Path, shards: str) -> None:
    pieces = [
        contig(0, "a", 0.1),
        contig(1, "same", 0.1),
        contig(2, "same", 0.2, "same flag=1"),
        contig(3, "b", 0.1),
        contig(4, "same", 0.9, "same flag=1 same"),
        contig(5, "whole", 0.9),
    ]
    counts = merge(
        [pieces] if shards == "one shard" else [[p] for p in pieces], Outputs(tmp_path, legacy=True)
    )
    (note,) = counts.notes
    assert note.startswith("ids are not unique: 2 records have the id of an earlier one, ")
    assert note.endswith("first same, which is same.record_3 in files that need unique names")
    names = ["a", "same", "same.record_3", "b", "same.record_5", "whole"]
    assert first_cells(tmp_path / "scores.bedgraph") == names
    assert first_cells(tmp_path / "regions.bed") == names[:4]
    pragmas = [
        line.split(" ")[1]
        for line in (tmp_path / "regions.gff3").read_text().splitlines()
        if line.startswith("##sequence-region")
    ]
    assert pragmas == names[:4]
    fasta = (tmp_path / "viral.fasta").read_text()
    assert fasta == ">same.record_5 flag=1 same\nACGT\n>whole\nACGT\n"
    for name in (LEGACY_FRAMES, LEGACY_CHUNKS):
        chunks = first_cells(tmp_path / name)[1:]
        assert len(chunks) == 6 * 30, "a chunk's id is that of no other"
    records = first_cells(tmp_path / "records.tsv")
    assert records == ["record", "a", "same", "b", "whole"], "tables keep ids as they are"
    found = read_findings(Outputs(tmp_path))
    scores = {r.record: {p.p_virus for p in r.track} for r in found.regions}
    assert scores == {"a": {0.1, 0.9}, "same": {0.2, 0.9}, "b": {0.1, 0.9}}


def test_mates_of_one_pair_share_their_name_and_those_of_another_have_a_new_one(
    tmp_path: Path,
) -> None:
    chunk = Chunk(0, 300, [Frame("F1", 99, 0.1, 0.9)])
    pairs = [
        Piece(pair, "r", 300, [chunk], f">r/{mate} x\nACGT\n", mate=mate, chunks_before=mate - 1)
        for pair in (0, 1)
        for mate in (1, 2)
    ]
    notes = merge([pairs], Outputs(tmp_path)).notes
    assert ": 1 record has the id of an earlier one, first r, which is r.record_2" in notes[0]
    headers = (tmp_path / "viral.fasta").read_text().splitlines()[::2]
    assert headers == [">r/1 x", ">r/2 x", ">r.record_2/1 x", ">r.record_2/2 x"]


def test_notes_problems_and_pages_show_long_ids_without_their_middle(tmp_path: Path) -> None:
    name = "x" * 10**6
    lost = Piece(2, name, 0, [], "", problem=f"reads.fa: record 3 ({name}): has no bases")
    counts = merge([[contig(0, name, 0.1), contig(1, name, 0.9), lost]], Outputs(tmp_path))
    texts = [*counts.notes, *counts.problems]
    found = read_findings(Outputs(tmp_path))
    texts += [viral.record for viral in found.viral]
    texts += [region.record for region in found.regions]
    assert len(texts) == 4
    assert all(len(text) < 1100 for text in texts)
    assert counts.problems[0].startswith("reads.fa: record 3 (x")
    assert counts.problems[0].endswith("x): has no bases")


@pytest.mark.parametrize("name", ["#1", "track", "track7", "browser.1"])
def test_ids_that_begin_a_comment_in_bed_are_escaped_there(tmp_path: Path, name: str) -> None:
    assert not merge([[contig(0, name, 0.1)]], Outputs(tmp_path)).notes
    escaped = f"\\x{ord(name[0]):x}{name[1:]}"
    assert first_cells(tmp_path / "regions.bed") == [escaped]
    assert first_cells(tmp_path / "scores.bedgraph") == [escaped]
    assert first_cells(tmp_path / "records.tsv") == ["record", name]
    assert read_findings(Outputs(tmp_path)).regions[0].record == name
