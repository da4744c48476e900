"""What the report counts is what the tables hold, however they are read."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from report.conftest import RunOf
from virnucpro.errors import RunError
from virnucpro.results.paths import Outputs
from virnucpro.results.report import reading
from virnucpro.results.report.aggregate import LISTED, POINTS, Found, aggregate


def found_of(out: Path) -> Found:
    return aggregate(Outputs(out))


def test_counts_are_those_of_the_table(metagenome: Path) -> None:
    found = found_of(metagenome)
    table = pl.read_csv(metagenome / "records.tsv", separator="\t")
    scored = table.filter(pl.col("call") != "unscored")
    virus = scored.filter(pl.col("call") == "virus")
    assert found.scores_CB.sum(1).tolist() == [len(scored) - len(virus), len(virus), 0]
    assert found.scores_CB[1, :25].sum() == 0
    assert found.scores_CB[1, -1] == virus.filter(pl.col("p_virus") >= 0.98).height
    assert found.lengths_LB.sum() == found.gc_GB.sum() == len(scored)
    assert (found.shortest, found.longest) == (table["length"].min(), table["length"].max())
    assert found.short == scored.filter(pl.col("length") < 100).height
    assert len(found.viral) == LISTED
    best = virus.sort(
        pl.col("tier").replace_strict({"low": 0, "moderate": 1, "high": 2}), "p_virus",
        descending=True,
    )  # fmt: skip
    assert [v.record for v in found.viral] == best["record"].head(LISTED).to_list()


def test_batches_of_another_size_give_the_same(
    metagenome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found_of(metagenome)
    monkeypatch.setattr(reading, "_BATCH", 1 << 19)
    parts = found_of(metagenome)
    assert parts.viral == whole.viral
    for name in ("scores_CB", "lengths_LB", "gc_GB"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))


def test_tracks_are_those_of_the_chunks(metagenome: Path) -> None:
    tracks = {v.record: v.track for v in found_of(metagenome).viral}
    table = pl.read_csv(metagenome / "chunks.tsv", separator="\t")
    listed = table.filter(pl.col("record").is_in(list(tracks)))
    chunks = listed.partition_by("record", as_dict=True)
    assert sum(map(bool, tracks.values())) > 10
    for record, track in tracks.items():
        rows = chunks[(record,)]
        if len(rows) == 1:
            assert track == ()
        else:
            assert [point.start for point in track] == rows["start"].to_list()
            expected = rows["p_virus"].round(3).to_list()
            assert [point.p_virus for point in track] == pytest.approx(expected)


def test_records_of_one_name_keep_their_own_tracks(run_of: RunOf) -> None:
    out = run_of(
        {"record": "same", "scores": [0.9, 0.7]},
        {"record": "same", "scores": []},
        {"record": "same", "scores": [0.1]},
        {"record": "same", "scores": [0.6, None, 0.8]},
    )
    first, second = found_of(out).viral
    assert first.track == ((0, 500, 0.9), (500, 1000, 0.7))
    assert second.track == ((0, 500, 0.6), (500, 1000, None), (1000, 1500, 0.8))


def test_a_long_track_is_averaged(run_of: RunOf) -> None:
    (viral,) = found_of(run_of({"record": "long", "scores": [0.6, 1.0] * 1000})).viral
    assert len(viral.track) <= POINTS
    assert {point.p_virus for point in viral.track[:-1]} <= {0.771, 0.829, 0.8}
    assert viral.track[-1].end == viral.length == 1_000_000


def test_probabilities_come_first_where_there_are_some(run_of: RunOf) -> None:
    out = run_of(
        {"record": "a", "scores": [0.99], "probability": 0.7, "fdr": 0.11},
        {"record": "b", "scores": [0.9], "probability": 0.9, "fdr": 0.1},
    )
    found = found_of(out)
    assert [v.record for v in found.viral] == ["b", "a"]
    assert found.false_share == 0.11


def test_columns_are_read_by_name(run_of: RunOf) -> None:
    out = run_of({"record": "quote\"s and '", "scores": [0.9]}, gc=pl.lit(0.41))
    table = pl.read_csv(out / "records.tsv", separator="\t", quote_char=None)
    table.select(pl.lit(7).alias("new"), *reversed(table.columns)).write_csv(
        out / "records.tsv", separator="\t", quote_style="never"
    )
    (viral,) = found_of(out).viral
    assert (viral.record, viral.gc, viral.probability) == ("quote\"s and '", 0.41, None)


@pytest.mark.parametrize("records", [[], [{"record": "closed", "scores": [None]}]])
def test_a_run_may_have_found_nothing(run_of: RunOf, records: list[dict[str, object]]) -> None:
    out = run_of({"record": "one"}, *records)
    lines = (out / "records.tsv").read_text().splitlines(keepends=True)
    (out / "records.tsv").write_text("".join([lines[0], *lines[2:]]))
    found = found_of(out)
    assert found.viral == []
    assert found.scores_CB.sum() == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"record\tlength\n", "has no column chunks; make the run anew"),
        (
            b"record\tlength\tchunks\tp_virus\tcall\ttier\na\tlong\t1\t0.5\tvirus\tlow\n",
            "cannot be",
        ),
        (b"record\tlength\tchunks\tp_virus\tcall\ttier\na\t1\t1\t0.5\tperhaps\tlow\n", "cannot be"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_damaged_table_is_one_line(run_of: RunOf, content: bytes, said: str) -> None:
    out = run_of({"record": "one"})
    (out / "records.tsv").write_bytes(content)
    with pytest.raises(RunError, match=said):
        found_of(out)
    (out / "records.tsv").unlink()
    with pytest.raises(RunError, match=r"records.tsv: cannot be read \(No such file"):
        found_of(out)
