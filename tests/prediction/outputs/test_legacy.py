"""Shards to tables: the original's two files to the letter, and ours beside them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_shards import LEGACY_CHUNKS, LEGACY_FRAMES, REGIONS, TABLES, Chunk, Frame, Piece, merge
from virnucpro.prediction.outputs.paths import Outputs

FOR_MULTIQC = ("virnucpro_calls_mqc.json", "virnucpro_stats_mqc.json")
ROLLED_UP = "weighted_delta viral_chunks other_chunks ambiguous_chunks rollup gc mates"


def table(rows: list[str]) -> bytes:
    """Return the bytes of a table whose columns are written with spaces between them here."""
    return "".join("\t".join(row.split(" ")) + "\n" for row in rows).encode()


TWO_CHUNKS = Piece(
    0,
    "r1",
    400,
    [
        Chunk(0, 300, [Frame("F1", 100, 0.12100612, 0.8789939), Frame("R2", 99, 1.0, 1.2e-05)]),
        Chunk(199, 400, [Frame("F3", 66, 0.5, 0.5)]),
    ],
    "",
)
CLOSED = Piece(1, "Closed", 300, [Chunk(0, 300, [])], "")
SAME_ID = Piece(
    2,
    "r1",
    91,
    [Chunk(0, 91, [Frame("F2", 30, 0.5, 0.5), Frame("R1", 30, 0.5, 0.5)])],
    ">r1 again\nACGT\n",
    gc=(30, 90),
)
EMPTY = Piece(3, "nothing", 0, [], "", problem="reads.fa: record 4 (nothing): has no bases")
ELEVEN_CHUNKS = Piece(
    4,
    "a",
    3300,
    [
        Chunk(300 * k, 300 * k + 300, [Frame("R3", 99, 1 - k / 64, k / 64)] if k != 4 else [])
        for k in range(11)
    ],
    "",
)
RECORDS = [TWO_CHUNKS, CLOSED, SAME_ID, EMPTY, ELEVEN_CHUNKS]


@pytest.fixture(params=["one shard", "a shard each"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a directory with the tables of the five records."""
    shards = [RECORDS] if request.param == "one shard" else [[record] for record in RECORDS]
    merge(shards, Outputs(tmp_path, legacy=True))
    return tmp_path


def test_legacy_frames(written: Path) -> None:
    assert (written / LEGACY_FRAMES).read_bytes() == table(
        [
            "Sequence_ID Prediction score1 score2",
            "r1_chunk_1F1 virus 0.12100612 0.8789939",
            "r1_chunk_1R2 others 1.0 1.2e-05",
            "r1_chunk_2F3 others 0.5 0.5",
            "r1.record_3_chunk_1F2 others 0.5 0.5",
            "r1.record_3_chunk_1R1 others 0.5 0.5",
            "a_chunk_1R3 others 1.0 0.0",
            "a_chunk_2R3 others 0.984375 0.015625",
            "a_chunk_3R3 others 0.96875 0.03125",
            "a_chunk_4R3 others 0.953125 0.046875",
            "a_chunk_6R3 others 0.921875 0.078125",
            "a_chunk_7R3 others 0.90625 0.09375",
            "a_chunk_8R3 others 0.890625 0.109375",
            "a_chunk_9R3 others 0.875 0.125",
            "a_chunk_10R3 others 0.859375 0.140625",
            "a_chunk_11R3 others 0.84375 0.15625",
        ]
    )


def test_legacy_chunks_are_sorted_as_text_and_those_of_one_id_keep_apart(written: Path) -> None:
    assert (written / LEGACY_CHUNKS).read_bytes() == table(
        [
            "Modified_ID Is_Virus max_score_0 max_score_1",
            "a_chunk_1 False 1.0 0.0",
            "a_chunk_10 False 0.859375 0.140625",
            "a_chunk_11 False 0.84375 0.15625",
            "a_chunk_2 False 0.984375 0.015625",
            "a_chunk_3 False 0.96875 0.03125",
            "a_chunk_4 False 0.953125 0.046875",
            "a_chunk_6 False 0.921875 0.078125",
            "a_chunk_7 False 0.90625 0.09375",
            "a_chunk_8 False 0.890625 0.109375",
            "a_chunk_9 False 0.875 0.125",
            "r1.record_3_chunk_1 True 0.5 0.5",
            "r1_chunk_1 False 1.0 0.8789939",
            "r1_chunk_2 False 0.5 0.5",
        ]
    )


def test_legacy_frames_of_six_read_as_one_have_the_id_of_their_chunk(tmp_path: Path) -> None:
    chunk = Chunk(0, 300, [Frame("all", 0, 0.25, 0.75)])
    merge([[Piece(0, "r", 300, [chunk], "")]], Outputs(tmp_path, legacy=True))
    assert (tmp_path / LEGACY_FRAMES).read_text().splitlines()[1:] == [
        "r_chunk_1\tvirus\t0.25\t0.75"
    ]
    assert (tmp_path / LEGACY_CHUNKS).read_text().splitlines()[1].startswith("r_chunk_1\tTrue\t")


def test_frames_table(written: Path) -> None:
    lines = (written / "frames.tsv").read_bytes().splitlines(keepends=True)
    assert b"".join(lines[:7]) == table(
        [
            "record chunk start end frame protein_length p_virus call mate",
            "r1 1 0 300 F1 100 0.878994 virus ",
            "r1 1 2 299 R2 99 0.000012 other ",
            "r1 2 201 399 F3 66 0.500000 other ",
            "r1 1 1 91 F2 30 0.500000 other ",
            "r1 1 1 91 R1 30 0.500000 other ",
            "a 1 1 298 R3 99 0.000000 other ",
        ]
    )
    assert len(lines) == 1 + 5 + 10


def test_chunks_table(written: Path) -> None:
    lines = (written / "chunks.tsv").read_bytes().splitlines(keepends=True)
    assert b"".join([*lines[:6], lines[9]]) == table(
        [
            "record chunk start end open_frames p_other p_virus call mate",
            "r1 1 0 300 2 1.000000 0.878994 other ",
            "r1 2 199 400 1 0.500000 0.500000 other ",
            "Closed 1 0 300 0   unscored ",
            "r1 1 0 91 2 0.500000 0.500000 virus ",
            "a 1 0 300 1 1.000000 0.000000 other ",
            "a 5 1200 1500 0   unscored ",
        ]
    )
    assert len(lines) == 1 + 4 + 11


def test_records_table(written: Path) -> None:
    delta = 2 * np.array([k / 64 for k in range(11) if k != 4]) - 1
    weight = np.sqrt(-delta)
    rolled_up = (delta * weight).sum() / weight.sum()
    p_virus, shares = (1 + rolled_up) / 2, "0.000000 1.000000 0.000000"
    assert (written / "records.tsv").read_bytes() == table(
        [
            f"record length chunks open_frames p_virus call tier probability fdr {ROLLED_UP}",
            "r1 400 2 3 0.439497 other low   -0.121006 0.000000 0.000000 0.500000 ambiguous  1",
            "Closed 300 1 0  unscored          1",
            f"r1 91 1 2 0.500000 virus low   {' '.join(['0.000000'] * 4)} ambiguous 0.333333 1",
            "nothing 0 0 0  unscored          1",
            f"a 3300 11 10 {p_virus:.6f} other high   {rolled_up:.6f} {shares} non_viral  1",
        ]
    )


def test_viral_records(written: Path) -> None:
    assert (written / "viral.fasta").read_bytes() == b">r1.record_3 again\nACGT\n"


def test_nothing_else_is_left_in_the_directory(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {
        *(*TABLES, *REGIONS, *FOR_MULTIQC),
        *(LEGACY_FRAMES, LEGACY_CHUNKS),
    }


def test_legacy_files_are_written_only_when_asked_for(tmp_path: Path) -> None:
    merge([RECORDS], Outputs(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*TABLES, *REGIONS, *FOR_MULTIQC}


def test_counts(tmp_path: Path) -> None:
    counts = merge([RECORDS[:2], RECORDS[2:]], Outputs(tmp_path))
    assert (counts.records, counts.bases, counts.chunks) == (5, 4091, 15)
    assert (counts.chunks_unscored, counts.open_frames) == (2, 15)
    assert counts.calls == {"other": 2, "virus": 1, "unscored": 2}
    assert counts.unscored == {"no open frame": 1, "not processed": 1}
    assert counts.problems == [EMPTY.problem]


def test_without_an_open_frame_all_tables_have_their_header(tmp_path: Path) -> None:
    merge([[CLOSED]], Outputs(tmp_path, legacy=True))
    paths = (path for path in tmp_path.iterdir() if path.name not in FOR_MULTIQC)
    lines = {path.name: path.read_bytes().count(b"\n") for path in paths}
    assert lines == {
        "frames.tsv": 1,
        "chunks.tsv": 2,
        "records.tsv": 2,
        "scores.bedgraph": 0,
        "regions.gff3": 1,
        "regions.bed": 0,
        "viral.fasta": 0,
        LEGACY_FRAMES: 1,
        LEGACY_CHUNKS: 1,
    }
    assert (tmp_path / LEGACY_FRAMES).read_text() == "Sequence_ID\tPrediction\tscore1\tscore2\n"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_legacy_scores_are_printed_as_numpy_prints_them(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float]
) -> None:
    frames = [Frame("F1", 9, 1 - score, score) for score in scores]
    directory = tmp_path_factory.mktemp("printed")
    merge([[Piece(0, "r", 30, [Chunk(0, 30, frames)], "")]], Outputs(directory, legacy=True))
    lines = (directory / LEGACY_FRAMES).read_text().splitlines()[1:]
    expected = [[str(np.float32(1 - score)), str(np.float32(score))] for score in scores]
    assert [line.split("\t")[2:] for line in lines] == expected
    maxima = (directory / LEGACY_CHUNKS).read_text().splitlines()[1].split("\t")[2:]
    assert maxima == [str(np.float32(1 - min(scores))), str(np.float32(max(scores)))]


# A record that goes on over several shards


def long_chunks(p_virus: float) -> list[Chunk]:
    return [
        Chunk(250 * k, 250 * k + 300, [Frame("F1", 100, 1 - p_virus, p_virus - k / 128)])
        for k in range(7)
    ]


def long_record(cuts: list[int], fasta: str, p_virus: float) -> list[Piece]:
    """Return the record's pieces, cut before the chunks `cuts` and between letters."""
    ends = [0, *cuts, 7]
    letters = [len(fasta) * end // 7 for end in ends]
    chunks = long_chunks(p_virus)
    return [
        Piece(1, "long", 1800, chunks[a:b], fasta[x:y], a, 7)
        for a, b, x, y in zip(ends, ends[1:], letters, letters[1:], strict=False)
    ]


def beside(record: int, p_virus: float) -> Piece:
    name = f"beside{record}"
    frame = Frame("F1", 20, 1 - p_virus, p_virus)
    fasta = f">{name}\nGGG\n" if p_virus > 0.5 else ""
    return Piece(record, name, 60, [Chunk(0, 60, [frame])], fasta)


@pytest.mark.parametrize("p_virus", [0.9, 0.2])
@pytest.mark.parametrize("neighbour", [0.8, 0.3])
@pytest.mark.parametrize("cuts", [[2, 5], [1, 6], [3, 4]])
def test_a_record_over_three_shards_is_as_in_one(
    tmp_path: Path, p_virus: float, neighbour: float, cuts: list[int]
) -> None:
    fasta = ">long and described\n" + "ACGTTGCA" * 30 + "\n"
    viral = fasta if p_virus > 0.5 else ""
    before, after = beside(0, neighbour), beside(2, neighbour)
    first, second, third = long_record(cuts, fasta, p_virus)
    whole = Piece(1, "long", 1800, long_chunks(p_virus), viral)
    one, three = tmp_path / "one", tmp_path / "three"
    counts = merge([[before, whole, after]], Outputs(one, legacy=True))
    spread = merge([[before, first], [second], [third, after]], Outputs(three, legacy=True))
    assert spread == counts
    for name in (*TABLES, *REGIONS, LEGACY_FRAMES, LEGACY_CHUNKS):
        assert (three / name).read_bytes() == (one / name).read_bytes()
    call = "virus" if p_virus > 0.5 else "other"
    line = (three / "records.tsv").read_text().splitlines()[2].split("\t")
    assert (line[:4], line[5]) == (["long", "1800", "7", "7"], call)
    neighbours = [piece.fasta for piece in (before, after)]
    expected = neighbours[0] + viral + neighbours[1]
    assert (three / "viral.fasta").read_text() == expected


def test_two_records_over_the_same_shards_keep_their_own_letters(tmp_path: Path) -> None:
    viral = long_record([2, 5], ">long\n" + "ACGT" * 40 + "\n", 0.9)
    other = [
        piece._replace(record=2, id="other", fasta=piece.fasta.lower())
        for piece in long_record([4], ">other\n" + "TTTT" * 40 + "\n", 0.2)
    ]
    merge([[viral[0]], [viral[1]], [viral[2], other[0]], [other[1]]], Outputs(tmp_path))
    assert (tmp_path / "viral.fasta").read_text() == ">long\n" + "ACGT" * 40 + "\n"
    lines = (tmp_path / "records.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[5] for line in lines] == ["virus", "other"]


# Compressed


def test_compressed_tables_hold_the_same_bytes(tmp_path: Path) -> None:
    merge([RECORDS], Outputs(tmp_path / "plain", legacy=True))
    merge([RECORDS], Outputs(tmp_path / "packed", legacy=True, compressed=True))
    for name in TABLES:
        packed = (tmp_path / "packed" / f"{name}.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / "plain" / name).read_bytes()
        assert not (tmp_path / "packed" / name).exists()
    for name in (*REGIONS, LEGACY_FRAMES, LEGACY_CHUNKS):
        expected = (tmp_path / "plain" / name).read_bytes()
        assert (tmp_path / "packed" / name).read_bytes() == expected


def test_compressed_tables_are_the_same_bytes_when_written_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        merge([RECORDS], Outputs(directory, compressed=True))
    for name in TABLES:
        packed = (first / f"{name}.gz").read_bytes()
        assert packed == (second / f"{name}.gz").read_bytes()
        flags, modified = packed[3], packed[4:8]
        assert (flags, modified) == (0, bytes(4))
