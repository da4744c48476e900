"""The files for MultiQC, read as MultiQC reads them: by name, then joined by id."""

import json
from pathlib import Path

import polars as pl

from processes import EXAMPLES, run
from virnucpro.results.multiqc import multiqc_files


def test_a_run_is_a_sample_by_the_name_of_its_directory(tmp_path: Path) -> None:
    out = tmp_path / "sample one"
    done = run("predict", EXAMPLES[1], "-o", out, "--bundle", "compact-pair", "--gzip")
    assert done.returncode == 0, done.stderr
    found = {path.name: json.loads(path.read_bytes()) for path in out.glob("*_mqc.json")}
    bars, stats = found["virnucpro_calls_mqc.json"], found["virnucpro_stats_mqc.json"]
    calls = dict(pl.read_csv(out / "records.tsv.gz", separator="\t")["call"].value_counts().rows())
    assert calls.keys() == {"virus", "other", "unscored"}
    assert bars["data"] == {"sample one": calls}
    assert (bars["plot_type"], stats["plot_type"]) == ("bargraph", "generalstats")
    shares = stats["data"]["sample one"]
    assert shares["percent_virus"] == round(100 * calls["virus"] / 96, 4)
    assert shares["percent_unscored"] == round(100 * calls["unscored"] / 96, 4)
    columns = {name for column in stats["pconfig"] for name in column}
    assert columns == shares.keys()
    assert bars["categories"].keys() == calls.keys()


def test_runs_differ_in_their_data_only() -> None:
    one = multiqc_files("one", {"virus": 1, "other": 2, "unscored": 3})
    two = multiqc_files("two", {"virus": 0, "other": 0, "unscored": 0})
    for name in one:
        a, b = json.loads(one[name]), json.loads(two[name])
        assert a.pop("data").keys() == {"one"}
        assert b.pop("data").keys() == {"two"}
        assert a == b
