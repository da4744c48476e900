"""regions.gff3 and regions.bed: the same viral regions, in either format's coordinates."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from made_shards import REGIONS, Chunk, Frame, Piece, merge
from virnucpro.bundles.manifest import Calibration, CalibrationLine
from virnucpro.classify import ChunkScores
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.region_files import bed_line, gff3_line, gff3_name
from virnucpro.prediction.outputs.regions import regions_of

#: Letters that a name may hold in GFF3 as they are.
PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:^*$@!+_?-|")


def record(number: int, name: str, p_virus: Sequence[float | None], first: int = 0) -> Piece:
    """Return a record of chunks that begin every 250 bases and have 300; None has no frame."""
    chunks = [
        Chunk(250 * k, 250 * k + 300, [] if p is None else [Frame("F1", 99, 1 - p, p)])
        for k, p in enumerate(p_virus, start=first)
    ]
    return Piece(number, name, 250 * len(p_virus) + 50, chunks, "", first)


def parted(piece: Piece, *cuts: int) -> list[Piece]:
    """Cut a record before some of its chunks."""
    total = len(piece.chunks)
    ends = [0, *cuts, total]
    return [
        piece._replace(chunks=piece.chunks[a:b], first=a, chunks_of_record=total)
        for a, b in pairwise(ends)
    ]


PROPHAGE = [0.125] * 20 + [0.875] * 12 + [0.125] * 18
TWO = [0.96875] * 10 + [0.0625] * 15 + [0.96875] * 15
SHORT = [0.9] * 5 + [0.1] * 4


def test_both_files_by_hand(tmp_path: Path) -> None:
    pieces = [
        record(0, "read", [0.9]),
        record(1, "host", PROPHAGE),
        record(2, "short", SHORT),
        record(3, "two", TWO),
        record(4, "whole", [0.9] * 30),
        record(5, "none", [0.1] * 30),
    ]
    merge([pieces[:2], pieces[2:]], Outputs(tmp_path))
    assert (tmp_path / "regions.bed").read_text().splitlines() == [
        "host\t5000\t8050\tviral_region_1_of_record_2\t875\t.",
        "two\t0\t2550\tviral_region_2_of_record_4\t969\t.",
        "two\t6250\t10050\tviral_region_3_of_record_4\t969\t.",
    ]
    attributes = "ID={0};Name={0};p_virus={1};chunks={2}"
    first = attributes.format("viral_region_1_of_record_2", "0.875000", 12)
    second = attributes.format("viral_region_2_of_record_4", "0.968750", 10)
    third = attributes.format("viral_region_3_of_record_4", "0.968750", 15)
    assert (tmp_path / "regions.gff3").read_text().splitlines() == [
        "##gff-version 3",
        "##sequence-region host 1 12550",
        f"host\tvirnucpro\tproviral_region\t5001\t8050\t0.875000\t.\t.\t{first}",
        "##sequence-region two 1 10050",
        f"two\tvirnucpro\tproviral_region\t1\t2550\t0.968750\t.\t.\t{second}",
        f"two\tvirnucpro\tproviral_region\t6251\t10050\t0.968750\t.\t.\t{third}",
    ]


def test_chunks_without_a_score_are_passed_over(tmp_path: Path) -> None:
    scores: list[float | None] = [*PROPHAGE]
    for place in (0, 19, 20, 25, 31, 49):
        scores[place] = None
    merge([[record(0, "host", scores)]], Outputs(tmp_path))
    (line,) = (tmp_path / "regions.gff3").read_text().splitlines()[2:]
    assert line.split("\t")[3:5] == ["5251", "7800"]
    assert line.endswith("chunks=9")


@pytest.mark.parametrize("cuts", [(1, 2), (20, 32), (25, 26), (5, 49)])
def test_a_record_over_several_shards_has_the_same_regions(
    tmp_path: Path, cuts: tuple[int, int]
) -> None:
    before, host, after = record(0, "a", TWO), record(1, "host", PROPHAGE), record(2, "b", TWO)
    one, three = tmp_path / "one", tmp_path / "three"
    merge([[before, host, after]], Outputs(one))
    first, second, third = parted(host, *cuts)
    merge([[before, first], [second], [third, after]], Outputs(three))
    assert (one / "regions.bed").read_text().count("\n") == 5
    for name in REGIONS:
        assert (three / name).read_bytes() == (one / name).read_bytes()


HOSTILE = [
    "a;b=c&d,e",
    "100%25%09",
    ">##FASTA",
    "chr 1".replace(" ", "\u00a0"),
    "q\"u\\o'te",
    "é中",
    "~tilde<tag>",
    "gi|1|gb|X.1|:5-6",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_keep_gff3_valid(tmp_path: Path, name: str) -> None:
    merge([[record(0, name, PROPHAGE)]], Outputs(tmp_path))
    version, pragma, feature = (tmp_path / "regions.gff3").read_text().splitlines()
    assert version == "##gff-version 3"
    columns = feature.split("\t")
    assert len(columns) == 9
    assert set(columns[0]) <= PLAIN | set("%")
    assert unquote(columns[0]) == name
    assert pragma == f"##sequence-region {columns[0]} 1 12550"
    attributes = dict(pair.split("=") for pair in columns[8].split(";"))
    assert attributes.keys() == {"ID", "Name", "p_virus", "chunks"}
    (line,) = (tmp_path / "regions.bed").read_text().splitlines()
    assert line == f"{name}\t5000\t8050\tviral_region_1_of_record_1\t875\t."


def test_plain_names_stay_as_they_are() -> None:
    assert gff3_name("NODE_1_length_5000_cov_3.5") == "NODE_1_length_5000_cov_3.5"
    assert gff3_name("gi|1|gb|X.1|") == "gi|1|gb|X.1|"


def test_scores_of_a_region_are_its_roll_up(tmp_path: Path) -> None:
    inside = [0.75, 0.875, 1.0, 0.75, 0.875, 1.0, 0.75, 0.875]
    merge([[record(0, "r", [0.125] * 10 + inside + [0.125] * 10)]], Outputs(tmp_path))
    delta = 2 * np.array(inside) - 1
    expected = (1 + (delta * np.sqrt(delta)).sum() / np.sqrt(delta).sum()) / 2
    (line,) = (tmp_path / "regions.gff3").read_text().splitlines()[2:]
    assert line.split("\t")[5] == f"{expected:.6f}"


def test_a_calibration_says_which_chunks_are_viral() -> None:
    balance = np.repeat([0.1, 0.4, 0.1], 12)
    scores = ChunkScores(np.ones(36, np.int64), 1 - balance, balance, np.ones(36, np.uint8))
    span_C2 = np.column_stack([np.arange(36) * 500, np.arange(1, 37) * 500])
    line = CalibrationLine(chunks=1, scores=(0, 0.3, 1), probabilities=(0.01, 0.7, 0.99))
    fitted = Calibration(
        lines=(line,), prevalence=0.5, chunk_length=500, frames="all", data="made by hand",
        metrics={},
    )  # fmt: skip
    assert list(regions_of("contig", span_C2, scores)) == []
    (region,) = regions_of("contig", span_C2, scores, fitted)
    assert (region.start, region.end, region.chunks) == (6000, 12000, 12)
    chance = 0.7 + 0.29 * (0.4 - 0.3) / (1 - 0.3)  # on the line between the knots
    assert region.p_virus < 0.5 < region.score
    assert region.score == pytest.approx(chance)
    assert gff3_line(region, "v").split("\t")[5] == f"{chance:.6f}"
    assert gff3_line(region, "v").endswith(f";chunks=12;chance={chance:.6f}\n")
    assert bed_line(region, "v").split("\t")[4] == f"{1000 * chance:.0f}"
