"""The contig roll-up: known answers, and what a consumer of the legacy file computes itself."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_shards import LEGACY_CHUNKS, Chunk, Frame, Piece, merge
from virnucpro.prediction.outputs.paths import Outputs

COLUMNS = ("weighted_delta", "viral_chunks", "other_chunks", "ambiguous_chunks")
#: The two maxima of a chunk: P(other), P(virus); exact in binary, on both sides of the constants.
Maxima = tuple[float, float] | None
VIRAL, OTHER, BOTH, WEAK = (0.0625, 0.9375), (0.9375, 0.0625), (0.75, 0.875), (0.4375, 0.5625)


def contig(number: int, maxima: list[Maxima]) -> Piece:
    """Return a contig with two open frames a chunk, one of which has each of the maxima."""
    chunks = []
    for k, two in enumerate(maxima):
        frames = []
        if two is not None:
            frames = [Frame("F1", 99, two[0], 0.0), Frame("R1", 99, 0.0, two[1])]
        chunks.append(Chunk(300 * k, 300 * k + 300, frames))
    return Piece(number, f"contig_{number}", 300 * len(maxima), chunks, "")


def written(directory: Path, contigs: list[list[Maxima]]) -> list[dict[str, str]]:
    pieces = [contig(number, maxima) for number, maxima in enumerate(contigs)]
    merge([pieces], Outputs(directory, legacy=True))
    with (directory / "records.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize(
    ("maxima", "expected"),
    [
        ([VIRAL] * 5, "virus high 0.875000 1.000000 0.000000 0.000000 viral"),
        ([OTHER] * 4, "other moderate -0.875000 0.000000 1.000000 0.000000 non_viral"),
        ([VIRAL, OTHER], "virus low 0.000000 0.500000 0.500000 0.000000 ambiguous"),
        # delta 0.64 and -0.36: (0.64 * 0.8 - 0.36 * 0.6) / (0.8 + 0.6)
        ([(0.0, 0.64), (0.36, 0.0)], "virus low 0.211429 0.000000 0.000000 0.000000 ambiguous"),
        ([BOTH] * 8, "virus low 0.125000 0.000000 0.000000 1.000000 ambiguous"),
        # (0.875**1.5 + 3 * 0.125**1.5) / (0.875**0.5 + 3 * 0.125**0.5), unscored chunks apart
        (
            [VIRAL, None, BOTH, WEAK, None, WEAK],
            "virus low 0.476470 0.250000 0.000000 0.250000 viral",
        ),
        ([(0.3, 0.601)], "virus low 0.301000 0.000000 0.000000 0.000000 viral"),
        ([(0.3, 0.599)], "virus low 0.299000 0.000000 0.000000 0.000000 ambiguous"),
        ([None, None], "unscored      "),
    ],
)
def test_known_answers(tmp_path: Path, maxima: list[Maxima], expected: str) -> None:
    (row,) = written(tmp_path, [maxima])
    found = [row[name] for name in ("call", "tier", *COLUMNS, "rollup")]
    assert found == expected.split(" ")


def consumed(path: Path) -> dict[str, list[str]]:
    """Roll contigs up from the legacy file alone, as pipelines downstream do."""
    chunks: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            name = row["Modified_ID"].rsplit("_chunk_", 1)[0]
            scores = float(row["max_score_0"]), float(row["max_score_1"])
            chunks.setdefault(name, []).append(scores)
    answers = {}
    for name, maxima in chunks.items():
        total = weights = viral = other = ambiguous = 0.0
        for s0, s1 in maxima:
            weight = math.sqrt(abs(s1 - s0))
            total += (s1 - s0) * weight
            weights += weight
            viral += s1 > 0.8 and s0 < 0.3
            other += s0 > 0.8 and s1 < 0.3
            ambiguous += s0 > 0.7 and s1 > 0.7
        delta = total / weights if weights else 0.0
        word = "viral" if delta > 0.3 else "non_viral" if delta < -0.3 else "ambiguous"
        shares = [count / len(maxima) for count in (viral, other, ambiguous)]
        answers[name] = [*(f"{x:.6f}" for x in (round(delta, 6) + 0.0, *shares)), word]
    return answers


SIXTEENTHS = st.integers(0, 16).map(lambda k: k / 16)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.tuples(SIXTEENTHS, SIXTEENTHS)), min_size=1, max_size=12),
        min_size=1,
        max_size=4,
    )
)
def test_a_consumer_of_the_legacy_file_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, contigs: list[list[Maxima]]
) -> None:
    directory = tmp_path_factory.mktemp("rolled")
    rows = written(directory, contigs)
    answers = consumed(directory / LEGACY_CHUNKS)
    assert {row["record"] for row in rows if row["rollup"]} == answers.keys()
    for row in rows:
        found = [row[name] for name in (*COLUMNS, "rollup")]
        expected = answers.get(row["record"], [""] * 5)
        assert found[1:] == expected[1:]
        assert found[0] == expected[0] or float(found[0]) == pytest.approx(
            float(expected[0]), abs=1.1e-6
        )
