"""docs/outputs.md names every file and every column that runs write."""

import re
from pathlib import Path

import pytest

from processes import EXAMPLES, ROOT, run

PAGE = (ROOT / "docs" / "outputs.md").read_text()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output directory of a run that writes every file."""
    directory = tmp_path_factory.mktemp("outputs") / "out"
    calls = [word for call in ("virus", "other", "unscored") for word in ("--write", call)]
    done = run("predict", EXAMPLES[1], "-o", directory, "--legacy", "--bam", *calls)
    assert done.returncode == 0, done.stderr
    return directory


def test_every_file_is_named(out: Path) -> None:
    written = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert "records.tsv" in written
    assert {name for name in written if f"`{name}`" not in PAGE} == set()


def test_every_column_is_named(out: Path) -> None:
    named = set(re.findall(r"`([\w.]+)`", PAGE))
    for table in [*out.glob("*.tsv"), *out.glob("prediction_results*")]:
        header = table.read_text().split("\n", 1)[0]
        assert set(header.split("\t")) - named == set(), table.name
