"""The files for MultiQC, read as MultiQC reads them: by name, then joined by id."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from made_shards import Chunk, Frame, Piece, merge
from virnucpro.prediction.outputs.multiqc import bar_graph, general_stats
from virnucpro.prediction.outputs.paths import Outputs


def record(number: int, frames: list[Frame]) -> Piece:
    return Piece(number, f"r{number}", 300, [Chunk(0, 300, frames)], "")


def made_run(directory: Path, virus: int, other: int, unscored: int) -> None:
    """Write the files of a run with so many records of each call."""
    frames = {"virus": [Frame("F1", 100, 0.1, 0.9)], "other": [Frame("F1", 100, 0.9, 0.1)]}
    kinds = [frames["virus"]] * virus + [frames["other"]] * other + [[]] * unscored
    merge([[record(i, kind) for i, kind in enumerate(kinds)]], Outputs(directory))


def test_a_run_is_a_sample_by_the_name_of_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Outputs(tmp_path / os.fsdecode(b"caf\xe9")).sample == r"caf\xe9"  # as a text has it
    (tmp_path / "sample one").mkdir()
    monkeypatch.chdir(tmp_path / "sample one")
    made_run(Path(), virus=1, other=4, unscored=3)
    found = {path.name: json.loads(path.read_bytes()) for path in Path().glob("*_mqc.json")}
    bars, stats = found["virnucpro_calls_mqc.json"], found["virnucpro_stats_mqc.json"]
    assert bars["data"] == {"sample one": {"virus": 1, "other": 4, "unscored": 3}}
    assert stats["data"] == {"sample one": {"percent_virus": 12.5, "percent_unscored": 37.5}}
    assert (bars["plot_type"], stats["plot_type"]) == ("bargraph", "generalstats")
    assert {name for column in stats["pconfig"] for name in column} == {
        "percent_virus", "percent_unscored",
    }  # fmt: skip


def test_runs_differ_in_their_data_only() -> None:
    for content in (general_stats, bar_graph):
        a = content("one", {"virus": 1, "other": 2, "unscored": 3})
        b = content("two", {"virus": 0, "other": 0, "unscored": 0})
        assert a.pop("data").keys() == {"one"}
        assert b.pop("data").keys() == {"two"}
        assert a == b


@pytest.mark.skipif(shutil.which("multiqc") is None, reason="needs MultiQC")
def test_multiqc_makes_one_section_of_three_runs(tmp_path: Path) -> None:
    made_run(tmp_path / "runs" / "a", virus=10, other=30, unscored=0)
    made_run(tmp_path / "runs" / "b", virus=0, other=7, unscored=1)
    made_run(tmp_path / "runs" / "c", virus=1, other=0, unscored=3)
    command = ["multiqc", "--no-version-check", "--outdir", "report", "runs"]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    data = tmp_path / "report" / "multiqc_data"
    bars = pl.read_csv(data / "multiqc_virnucpro_calls_plot.txt", separator="\t")
    assert bars.columns == ["Sample", "virus", "other", "unscored"]
    assert bars.rows() == [("a", 10, 30, 0), ("b", 0, 7, 1), ("c", 1, 0, 3)]
    stats = pl.read_csv(data / "multiqc_general_stats.txt", separator="\t")
    assert [name.rpartition("-")[2] for name in stats.columns] == [
        "Sample", "percent_virus", "percent_unscored",
    ]  # fmt: skip
    assert stats.rows() == [("a", 25.0, 0.0), ("b", 0.0, 12.5), ("c", 25.0, 75.0)]
    report = (tmp_path / "report" / "multiqc_report.html").read_text()
    assert report.count('id="mqc-module-section-virnucpro"') == 1
