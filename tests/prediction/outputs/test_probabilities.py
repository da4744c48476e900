"""probability and fdr of records.tsv, and calls by them, against sums over all records."""

import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_shards import TABLES, Chunk, Frame, Piece, merge
from virnucpro.bundles.manifest import Calibration, CalibrationLine
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.probabilities import Calibrating

CALIBRATION = Calibration(
    lines=(
        CalibrationLine(chunks=1, scores=(0, 0.4, 1), probabilities=(0.02, 0.3, 0.9)),
        CalibrationLine(chunks=2, scores=(0, 0.4, 1), probabilities=(0.001, 0.2, 0.999)),
        CalibrationLine(chunks=2, bases=225, scores=(0, 1), probabilities=(0.0005, 0.9995)),
    ),
    prevalence=0.5, chunk_length=300, frames="open", data="made by hand", metrics={},
)  # fmt: skip
#: P(virus) of the frame of each chunk; None where a chunk has no open frame.
CHUNKS = st.lists(st.one_of(st.none(), st.integers(0, 64).map(lambda k: k / 64)), max_size=4)


def chunk_length(record: int) -> int:
    """Return bases of the chunks of a record: of every other one they are short."""
    return (300, 150)[record % 2]


def piece(record: int, p_virus: list[float | None]) -> Piece:
    length = chunk_length(record)
    chunks = [
        Chunk(length * k, length * (k + 1), [] if p is None else [Frame("F1", 100, 1 - p, p)])
        for k, p in enumerate(p_virus)
    ]
    return Piece(record, f"r{record}", length * len(chunks), chunks, f">r{record}\nACGT\n")


def table(out: Path) -> pl.DataFrame:
    numbers = dict.fromkeys(("p_virus", "probability", "fdr"), pl.Float64)
    return pl.read_csv(out / "records.tsv", separator="\t", schema_overrides=numbers)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(CHUNKS, min_size=1, max_size=25),
    st.sampled_from([None, 0.01, 0.5, 0.7]),
    st.sampled_from([None, 0.05, 0.3, 0.6]),
)
def test_columns_and_calls_against_all_records(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[list[float | None]],
    prevalence: float | None,
    max_fdr: float | None,
) -> None:
    out = tmp_path_factory.mktemp("merged")
    pieces = [piece(number, p_virus) for number, p_virus in enumerate(records)]
    wanted = Calibrating(CALIBRATION, prevalence, max_fdr)
    shards = [pieces[k : k + 7] for k in range(0, len(pieces), 7)]
    counts = merge(shards, Outputs(out), wanted)
    found = table(out)
    scored_chunks = np.array([sum(p is not None for p in chunks) for chunks in records])
    is_scored = scored_chunks > 0
    assert found["probability"].is_null().to_list() == (~is_scored).tolist()
    assert found["fdr"].is_null().to_list() == (~is_scored).tolist()
    assert (counts.prevalence is None) == (prevalence is None and not is_scored.any())
    if counts.prevalence is None:  # nothing to estimate it from
        return
    share = counts.prevalence
    scores = found["p_virus"].to_numpy()[is_scored]
    is_long = np.array([chunk_length(record) >= 225 for record in range(len(records))])
    number = np.where(scored_chunks > 1, 1 + is_long, 0)
    lines = [CALIBRATION.lines[k] for k in number[is_scored].tolist()]
    fitted = np.array(
        [np.interp(s, x.scores, x.probabilities) for s, x in zip(scores, lines, strict=True)]
    )
    odds = fitted / (1 - fitted) * share / (1 - share)
    expected = odds / (1 + odds)
    np.testing.assert_allclose(found["probability"].to_numpy()[is_scored], expected, atol=6e-7)
    fdr = np.array([(1 - expected[expected >= p - 1e-12]).mean() for p in expected])
    np.testing.assert_allclose(found["fdr"].to_numpy()[is_scored], fdr, atol=6e-7)
    assert counts.records_expected_viral == pytest.approx(expected.sum(), abs=6e-4)
    called = found["call"].to_numpy()[is_scored] == "virus"
    printed = found["fdr"].to_numpy()[is_scored]
    if max_fdr is not None:
        np.testing.assert_array_equal(called, printed <= max_fdr)
        names = found["record"].to_numpy()[is_scored][called]
        expected_fasta = "".join(f">{name}\nACGT\n" for name in names)
        assert (out / "viral.fasta").read_text() == expected_fasta
    assert counts.calls["virus"] == called.sum()


@pytest.mark.parametrize("max_fdr", [None, 0.4])
@pytest.mark.parametrize("prevalence", [None, 0.2])
def test_a_record_over_several_shards_means_what_it_means_in_one(
    tmp_path: Path, prevalence: float | None, max_fdr: float | None
) -> None:
    scores: list[list[float | None]] = [[0.9], [0.8, None, 0.7, 0.9], [0.2], [None], [0.1, 0.9]]
    one = [piece(number, p_virus) for number, p_virus in enumerate(scores)]
    long = one[1]
    parts = [
        long._replace(chunks=long.chunks[a:b], fasta=long.fasta[x:y], first=a, chunks_of_record=4)
        for a, b, x, y in ((0, 1, 0, 4), (1, 3, 4, 6), (3, 4, 6, 9))
    ]
    wanted = Calibrating(CALIBRATION, prevalence, max_fdr)
    whole = merge([one], Outputs(tmp_path / "one"), wanted)
    spread = merge(
        [[one[0], parts[0]], [parts[1]], [parts[2], *one[2:]]], Outputs(tmp_path / "cut"), wanted
    )
    assert whole == spread
    for name in TABLES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_without_a_calibration_nothing_is_said_of_probabilities(tmp_path: Path) -> None:
    counts = merge([[piece(0, [0.9]), piece(1, [0.2])]], Outputs(tmp_path))
    found = table(tmp_path)
    assert found["probability"].null_count() == found["fdr"].null_count() == 2
    assert (counts.calibrated, counts.prevalence, counts.records_expected_viral) == (
        False, None, None,
    )  # fmt: skip


def test_a_run_without_scores(tmp_path: Path) -> None:
    wanted = Calibrating(CALIBRATION, None, 0.1)
    counts = merge([[piece(0, []), piece(1, [None])]], Outputs(tmp_path), wanted)
    assert counts.calls == {"other": 0, "virus": 0, "unscored": 2}
    assert counts.records_expected_viral == 0


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    shard = [piece(number, [float(random.integers(0, 1000) / 1000)]) for number in range(300)]
    wanted = Calibrating(CALIBRATION, None, 0.2)
    peaks: list[int] = []
    for shards in (2, 2, 40):  # the first one imports
        tracemalloc.start()
        merge([shard] * shards, Outputs(tmp_path / str(len(peaks))), wanted)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] * 1.05
