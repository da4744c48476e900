"""Inputs without a record give tables without a row, a note and status 0."""

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import virnucpro
from processes import contents
from read_files import bam_lines, write_bam
from virnucpro import read_embeddings
from virnucpro.bundles import Bundle
from virnucpro.cli.final_message import final_message
from virnucpro.prediction.outputs.columns import TABLES
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.runs.job import Silence

NOTE = "the input has no records: tables contain only their headers"


def empty(folder: Path, name: str) -> Path:
    """Write a file without a record."""
    path = folder / name
    if path.suffix == ".bam":
        return Path(write_bam(path, []))
    path.write_bytes(gzip.compress(b"") if path.suffix == ".gz" else b"")
    return path


@pytest.mark.parametrize("name", ["a.fa", "a.fq.gz", "a.bam", "pairs", "turn"])
def test_predict(name: str, tiny_bundle: Bundle, tmp_path: Path) -> None:
    files = [empty(tmp_path, f"{n}.fq") for n in (1, 2)]
    given: dict[str, Any] = {"inputs": empty(tmp_path, name)}
    if name == "pairs":
        given = {"inputs": [], "mates": [files]}
    options: dict[str, Any] = {
        **given, "out": tmp_path / "out", "bundle": tiny_bundle.path, "device": "cpu", "bam": True,
        "legacy": True, "report": False, "interleaved": name == "turn",
    }  # fmt: skip
    summary = virnucpro.predict(**options)
    assert (summary.records, summary.problems, summary.notes) == (0, [], [NOTE])
    for table, columns in TABLES.items():
        assert (tmp_path / "out" / table).read_text() == "\t".join(c.name for c in columns) + "\n"
    assert bam_lines(tmp_path / "out" / "reads.bam") == []
    assert {path.read_bytes() for path in (tmp_path / "out").glob("viral*.fasta")} == {b""}
    before = contents(tmp_path / "out")
    assert virnucpro.predict(**options) == summary
    assert contents(tmp_path / "out") == before


class Heard(Silence):
    """Keeps the lines that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def noted(self, line: str) -> None:
        self.lines.append(line)


def test_a_calibrated_run_and_its_report(tmp_path: Path) -> None:
    """Nothing is estimated of no score."""
    path, out, heard = empty(tmp_path, "a.fa"), tmp_path / "out", Heard()
    summary = virnucpro.predict(
        path, out, max_fdr=0.05, compressed=True, device="cpu", observer=heard
    )
    assert f"note: {NOTE}" in heard.lines
    assert (summary.calibrated, summary.prevalence) == (True, None)
    assert "The input holds no records" in (out / "report.html").read_text()
    assert "no record had a score. 0 records were called" in (out / "methods.txt").read_text()
    assert final_message(summary, Outputs(out, compressed=True)).startswith(
        "0 records: 0 virus, 0 other"
    )
    assert len(pl.read_csv(out / "records.tsv.gz", separator="\t")) == 0


@pytest.mark.parametrize("file_format", ["parquet", "hdf5", "npz", "safetensors"])
def test_embed(file_format: str, tiny_bundle: Bundle, tmp_path: Path) -> None:
    out, model = tmp_path / "out", f"{tiny_bundle.path}:dna"
    path = empty(tmp_path, "a.fa")
    summary = virnucpro.embed(path, out, model=model, file_format=file_format, device="cpu")
    assert (summary.records, summary.problems) == (0, [])
    assert summary.notes == ["the input has no records: no vector is written"]
    assert list(read_embeddings(out)) == []


def test_a_sample_among_others(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\n" + "ACGGTCATTC" * 20 + "\n")
    empty(tmp_path, "none.fq.gz")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("sample,files\nnegative,none.fq.gz\npatient,a.fa\n")
    heard = Heard()
    found = virnucpro.predict_samples(sheet, tmp_path / "out", device="cpu", observer=heard)
    assert f"negative: note: {NOTE}" in heard.lines
    assert (found.samples["negative"].notes, found.samples["patient"].notes) == ([NOTE], [])
    rows = [line.split("\t") for line in (tmp_path / "out" / "samples.tsv").read_text().split("\n")]
    assert [row[:2] for row in rows[1:3]] == [["negative", "0"], ["patient", "1"]]
    assert len((tmp_path / "out" / "records.tsv").read_text().splitlines()) == 2
