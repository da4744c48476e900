"""The rule for Snakemake, run by Snakemake."""

import json
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from processes import EXAMPLES, ROOT, program_on_path


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="needs Snakemake")
def test_a_workflow_of_two_samples(tmp_path: Path) -> None:
    environment = program_on_path(tmp_path / "bin")
    shutil.copy(ROOT / "integrations" / "snakemake" / "Snakefile", tmp_path)
    unreadable = tmp_path / "some unreadable.fasta"
    unreadable.write_text(">good\n" + "ATGGCTGCA" * 40 + "\n>bad\nMKV123\n")
    config = {
        "samples": {"contigs": EXAMPLES[1:], "status 3": [str(unreadable)]},
        "bundle": "compact",
        "device": "cpu",
        "options": ["--block-chunks", "100"],
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    command = ["snakemake", "--cores", "1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    records = pl.read_csv(tmp_path / "results" / "contigs" / "records.tsv", separator="\t")
    assert len(records) == 96
    summary = json.loads((tmp_path / "results" / "status 3" / "summary.json").read_bytes())
    assert summary["unscored"]["not processed"] == 1
    assert "bad" in (tmp_path / "logs" / "status 3.log").read_text()
