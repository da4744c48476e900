"""The files for MultiQC, read as MultiQC reads them: by name, then joined by id."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from processes import EXAMPLES, run
from virnucpro.results.multiqc import multiqc_files
from virnucpro.results.paths import Outputs


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


@pytest.mark.skipif(shutil.which("multiqc") is None, reason="needs MultiQC")
def test_multiqc_makes_one_section_of_three_runs(tmp_path: Path) -> None:
    calls = {
        "a": {"virus": 10, "other": 30, "unscored": 0},
        "b": {"virus": 0, "other": 7, "unscored": 1},
        "c": {"virus": 1, "other": 0, "unscored": 3},
    }
    for sample, counts in calls.items():
        outputs = Outputs(tmp_path / "runs" / sample)
        outputs.directory.mkdir(parents=True)
        for name, content in multiqc_files(outputs.sample, counts).items():
            outputs.path(name).write_bytes(content)
    command = ["multiqc", "--no-version-check", "--outdir", tmp_path / "report", tmp_path / "runs"]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    data = tmp_path / "report" / "multiqc_data"
    bars = pl.read_csv(data / "multiqc_virnucpro_calls_plot.txt", separator="\t")
    assert {row.pop("Sample"): row for row in bars.to_dicts()} == calls
    stats = pl.read_csv(data / "multiqc_general_stats.txt", separator="\t")
    assert [name.rpartition("-")[2] for name in stats.columns] == [
        "Sample", "percent_virus", "percent_unscored",
    ]  # fmt: skip
    assert stats.rows() == [("a", 25.0, 0.0), ("b", 0.0, 12.5), ("c", 25.0, 75.0)]
    report = (tmp_path / "report" / "multiqc_report.html").read_text()
    assert report.count('id="mqc-module-section-virnucpro"') == 1
