"""What the report counts is what the tables hold, however they are read."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from made_run import write_regions
from made_shards import Chunk, Frame, Piece, merge
from prediction.outputs.test_probabilities import CALIBRATION
from prediction.report.conftest import RunOf
from virnucpro.bundles.manifest import Calibration
from virnucpro.errors import RunError
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.probabilities import Calibrating
from virnucpro.prediction.outputs.regions import Region
from virnucpro.prediction.outputs.tables import append_rows
from virnucpro.prediction.report import finished_runs, run_findings
from virnucpro.prediction.report.finished_runs import read_findings
from virnucpro.prediction.report.run_findings import LISTED, POINTS, Findings, as_printed


def found_of(out: Path) -> Findings:
    return read_findings(Outputs(out))


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
    monkeypatch.setattr(finished_runs, "_BATCH", 1 << 19)
    monkeypatch.setattr(finished_runs, "_CHUNKS", 1 << 10)
    parts = found_of(metagenome)
    assert parts.viral == whole.viral
    assert parts.regions == whole.regions
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


def test_the_most_confident_regions_are_listed(metagenome: Path) -> None:
    found = found_of(metagenome)
    table = pl.read_csv(
        metagenome / "regions.bed", separator="\t", has_header=False,
        new_columns=["record", "start", "end", "name", "score", "strand"],
    )  # fmt: skip
    assert found.region_count == len(table) == found.long > LISTED
    assert found.region_bases == (table["end"] - table["start"]).sum()
    best = table.sort("score", pl.col("end") - pl.col("start"), descending=True).head(LISTED)
    assert [(r.p_virus, r.length) for r in found.regions] == [
        (row["score"] / 1000, row["end"] - row["start"]) for row in best.to_dicts()
    ]
    calls = dict(
        pl.read_csv(metagenome / "records.tsv", separator="\t").select("record", "call").iter_rows()
    )
    for region in found.regions:
        assert region.regions == ((region.start, region.end),)
        assert region.call == calls[region.record]
        assert region.track


def test_a_region_is_one_of_its_record(run_of: RunOf) -> None:
    host = {"record": "host", "scores": [0.1] * 8 + [0.9, None, 0.9, 0.8] + [0.1] * 8}
    out = run_of({"record": "read"}, host, {"record": "phage", "scores": [0.9] * 12})
    write_regions(
        out, (2, Region("host", 4000, 6000, 0.71, 3)), (2, Region("host", 7000, 7500, 0.9, 1)),
        (3, Region("phage", 0, 3000, 0.8, 6)),
    )  # fmt: skip
    found = found_of(out)
    assert [(r.record, r.start, r.end, r.call, r.p_virus, r.chunks) for r in found.regions] == [
        ("host", 7000, 7500, "other", 0.9, 1),
        ("phage", 0, 3000, "virus", 0.8, 6),
        ("host", 4000, 6000, "other", 0.71, 3),
    ]
    assert found.regions[0].regions == ((4000, 6000), (7000, 7500))
    assert [point.p_virus for point in found.regions[0].track[7:12]] == [0.1, 0.9, None, 0.9, 0.8]
    assert {v.record: v.regions for v in found.viral} == {"read": (), "phage": ((0, 3000),)}


def test_regions_of_one_id_are_drawn_on_their_own_record(run_of: RunOf) -> None:
    three = ([0.9] * 3, [0.8] * 12, [0.7] * 12)
    out = run_of(*({"record": "same", "scores": scores} for scores in three))
    write_regions(
        out, (2, Region("same", 0, 500, 0.8, 5)), (3, Region("same.record_3", 500, 3000, 0.9, 5))
    )
    found = found_of(out)
    assert [{p.p_virus for p in region.track} for region in found.regions] == [{0.7}, {0.8}]
    spans = {round(v.p_virus, 3): v.regions for v in found.viral}
    assert spans == {0.9: (), 0.8: ((0, 500),), 0.7: ((500, 3000),)}


@pytest.mark.parametrize(
    ("left", "record"), [((1, 2, 3, 4, 5), "a"), ((4, 5, 6), "lost"), ((1, 2, 3, 3, 4, 5), "a")]
)
def test_chunks_that_are_missing_or_of_another_record_are_refused(
    run_of: RunOf, left: tuple[int, ...], record: str
) -> None:
    out = run_of({"record": "lost", "scores": [None] * 3}, {"record": "a", "scores": [0.9] * 3})
    lines = (out / "chunks.tsv").read_text().splitlines(keepends=True)
    (out / "chunks.tsv").write_text("".join(lines[line] for line in (0, *left)))
    with pytest.raises(
        RunError, match=rf"chunks.tsv: has not the chunks of {record} in their place"
    ):
        found_of(out)


def test_runs_of_before_have_no_regions_and_others_may_have_found_none(run_of: RunOf) -> None:
    out = run_of({"record": "one", "scores": [0.9] * 12})
    assert found_of(out).region_count is None
    write_regions(out)
    assert (found_of(out).region_count, found_of(out).regions) == (0, [])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("one\t0\tmany\tviral_region_1_of_record_1\t900\t.\n", "cannot be read"),
        ("one\t\t500\tviral_region_1_of_record_1\t900\t.\n", "a line lacks a field"),
        ("one\t0\t500\tviral_region_1\t900\t.\n", "lacks .* the number of a record"),
        ("two\t0\t500\tr_of_record_2\t900\t.\n", "has r_of_record_2, of which the tables"),
    ],
)
def test_damaged_regions_are_one_line(run_of: RunOf, line: str, said: str) -> None:
    out = run_of({"record": "one", "scores": [0.9] * 12})
    (out / "regions.bed").write_text(line)
    with pytest.raises(RunError, match=rf"regions.bed: .*{said}"):
        found_of(out)


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
    for name in ("records.tsv", "chunks.tsv"):
        lines = (out / name).read_text().splitlines(keepends=True)
        (out / name).write_text("".join([lines[0], *lines[2:]]))
    found = found_of(out)
    assert found.viral == []
    assert found.scores_CB.sum() == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"record\tlength\n", "has no column chunks; run predict again"),
        (
            b"record\tlength\tchunks\tp_virus\tcall\ttier\na\tlong\t1\t0.5\tvirus\tlow\n",
            "cannot be",
        ),
        (b"record\tlength\tchunks\tp_virus\tcall\ttier\na\t1\t1\t0.5\tperhaps\tlow\n", "cannot be"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_damaged_table_is_one_line(run_of: RunOf, content: bytes, said: str) -> None:
    out = run_of({"record": "a"})
    (out / "records.tsv").write_bytes(content)
    with pytest.raises(RunError, match=said):
        found_of(out)
    (out / "records.tsv").unlink()
    with pytest.raises(RunError, match=r"records.tsv: cannot be read \(No such file"):
        found_of(out)


def contig(number: int, scores: NDArray[np.float32], first: int = 0, of: int = 0) -> Piece:
    """Return some chunks of a record; a score of NaN has no frame."""
    chunks = [
        Chunk(500 * k, 500 * k + 500, [] if np.isnan(p) else [Frame("F1", 9, 1 - p, p)])
        for k, p in enumerate(scores.tolist(), first)
    ]
    total = of or len(chunks)
    gc = (number % 7 * len(chunks), 9 * len(chunks))
    return Piece(
        number, f"r{number % 90}", 500 * total, chunks, "", first, chunks_of_record=total, gc=gc
    )


@pytest.mark.parametrize("calibration", [None, CALIBRATION], ids=["scores", "probabilities"])
def test_the_merge_finds_what_its_tables_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calibration: Calibration | None
) -> None:
    monkeypatch.setattr(run_findings, "LISTED", 30)
    monkeypatch.setattr(run_findings, "_CHUNKS_AT_ONCE", 200)
    random = np.random.default_rng(1)
    shards: list[list[Piece]] = [[]]
    for number in range(160):
        scores = random.beta(0.5, 0.5, int(random.choice([1, 2, 12, 40]))).astype(np.float32)
        scores[random.random(len(scores)) < 0.2] = np.nan
        scores[len(scores) // 2 :] = np.round(scores[len(scores) // 2 :] * 128) / 128
        if len(scores) == 40:
            scores[:20], scores[20:] = scores[:20] * 0.2, 1 - scores[20:] * 0.2
        for first in range(0, len(scores), 15):  # a shard ends in each of a long record's pieces
            shards[-1].append(contig(number, scores[first : first + 15], first, len(scores)))
            if len(scores) > first + 15 or len(shards[-1]) == 8:
                shards.append([])
    out, merged = Outputs(tmp_path), Findings()
    wanted = None if calibration is None else Calibrating(calibration, None)
    merge([pieces for pieces in shards if pieces], out, wanted, merged)
    read = read_findings(out)
    assert len(read.regions) == len(read.viral) == 30
    assert len({len(viral.track) for viral in read.viral}) >= 3
    for name, value in vars(read).items():
        if name.endswith("B"):
            assert np.array_equal(getattr(merged, name), value), name
        elif not name.startswith("_") and name != "is_complete":
            assert getattr(merged, name) == value, name


@given(st.lists(st.one_of(st.floats(0, 1), st.integers(0, 1 << 20).map(lambda k: k / (1 << 20)))))
@example([(k + 0.5) / 1e6 for k in range(2000)])
def test_numbers_are_rounded_as_the_tables_are(values: list[float]) -> None:
    file = io.BytesIO()
    append_rows(file, pl.DataFrame({"value": pl.Series(values, dtype=pl.Float64)}))
    printed = [float(line) for line in file.getvalue().decode().split()]
    assert as_printed(np.array(values, np.float64)).tolist() == printed
