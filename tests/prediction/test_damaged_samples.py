"""A damaged sample does not stop its sheet: the others are done, and it is named."""

import gzip
from pathlib import Path
from typing import Any

import pytest

import virnucpro
from processes import EXAMPLES, contents, run
from virnucpro.bundles import Bundle
from virnucpro.errors import InputError
from virnucpro.prediction.outputs.sheet_tables import SampleSummaries
from virnucpro.runs.job import Silence

READS = gzip.decompress(Path(EXAMPLES[0]).read_bytes()).decode().split("\n@")[1:41]
WHOLE = "".join(f"@{read}\n" for read in READS)
#: What is found wrong with a file of several blocks: at its beginning, and at its end.
DAMAGED = {
    "start.fq.gz": gzip.compress(WHOLE.encode())[:14],
    "end.fq": WHOLE[:-100].encode(),
}


class Heard(Silence):
    """Keeps the lines that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def noted(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """Return a sheet of two damaged samples between two whole ones."""
    (tmp_path / "whole.fq").write_text(WHOLE)
    for name, content in DAMAGED.items():
        (tmp_path / name).write_bytes(content)
    sheet = tmp_path / "sheet.csv"
    files = ["whole.fq", *DAMAGED, "whole.fq"]
    rows = [f"s{number},{name}" for number, name in enumerate(files, start=1)]
    sheet.write_text("\n".join(["sample,files", *rows]) + "\n")
    return sheet


def column(path: Path, name: str) -> dict[str, str]:
    header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    return {row[0]: row[header.index(name)] for row in rows}


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_the_others_are_done(device: str, sheet: Path, tiny_bundle: Bundle) -> None:
    folder, out, heard = sheet.parent, sheet.parent / "out", Heard()
    options: dict[str, Any] = {"bundle": tiny_bundle.path, "block_chunks": 5, "report": False}

    def predicted() -> SampleSummaries:
        return virnucpro.predict_samples(sheet, out, device=device, observer=heard, **options)

    found = predicted()
    assert list(found.samples) == ["s1", "s4"]
    assert list(found.damaged) == ["s2", "s3"]
    assert found.problems == [f"{name}: {why}" for name, why in found.damaged.items()]
    assert found.damaged["s2"].startswith(f"{folder}/start.fq.gz: the compressed data ends early")
    assert found.damaged["s3"].startswith(f"{folder}/end.fq: record 40, line")
    assert f"s3: {found.damaged['s3']}; continuing with the other samples" in heard.lines
    assert column(out / "samples.tsv", "problem") == {"s1": "", "s4": "", **found.damaged}
    assert column(out / "samples.tsv", "records")["s3"] == ""
    assert len((out / "records.tsv").read_text().splitlines()) == 1 + 2 * len(READS)
    virnucpro.predict(folder / "whole.fq", folder / "alone", device="cpu", **options)
    assert contents(out / "s4") == contents(folder / "alone")
    if device == "cpu":  # what is computed is kept, and what is mended is done
        assert predicted().damaged == found.damaged
        assert len(list((out / "s3" / "shards").glob("*.shard"))) >= len(READS) // 5 - 1
        (folder / "end.fq").write_text(WHOLE)
        mended = predicted()
        assert (list(mended.samples), list(mended.damaged)) == (["s1", "s3", "s4"], ["s2"])
        assert contents(out / "s3") == contents(folder / "alone")


def test_the_terminal_and_the_report_name_it(sheet: Path) -> None:
    out = sheet.parent / "out"
    virnucpro.predict_samples(sheet, out, device="cpu")
    said = "Left out, because their files are damaged: s2, s3."
    assert said in (out / "report.html").read_text()
    assert "damaged: s3." in virnucpro.report(out).read_text()
    done = run("predict", "--samples", sheet, "-o", out, "--device=cpu", report=True)
    assert done.returncode == 3, done.stderr
    assert "2 samples, 2 damaged, 80 records: " in done.stderr
    for name, file in (("s2", "start.fq.gz"), ("s3", "end.fq")):
        assert f"virnucpro: not processed: {name}: {sheet.parent}/{file}: " in done.stderr


def test_nothing_but_damage(sheet: Path, tiny_bundle: Bundle) -> None:
    sheet.write_text("sample,files\n" + "".join(f"{name[:3]},{name}\n" for name in DAMAGED))
    out = sheet.parent / "out"
    for _ in range(2):
        found = virnucpro.predict_samples(sheet, out, bundle=tiny_bundle.path, device="cpu")
        assert (list(found.samples), set(found.damaged)) == ([], {"sta", "end"})
        assert (out / "records.tsv").read_text().startswith("sample\trecord\tlength\t")
    with pytest.raises(InputError, match=r"end.fq: record 40"):
        virnucpro.predict(
            sheet.parent / "end.fq", out / "alone", bundle=tiny_bundle.path, device="cpu"
        )
