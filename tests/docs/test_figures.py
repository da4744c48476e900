"""The worked example in docs/results.md follows from what was measured."""

import json
import re

import pytest

from processes import ROOT

PAGE = (ROOT / "docs" / "results.md").read_text()
MEASURED = ROOT / "benchmarks" / "2026-11-23-compact-500.json"
CALLS = json.loads((ROOT / "benchmarks" / "2026-11-23-compact-calls.json").read_bytes())
ROWS = re.findall(r"^\| ([\d.]+) % \|" + r" ([\d.,]+|-)(?: %)? \|" * 7 + "$", PAGE, re.MULTILINE)
#: Recall at 1 % false positives, as the page says it.
RECALL_AT_1 = 0.398


def called_at(share: float) -> tuple[float, float]:
    """Return the shares of viral reads, and of others, that are called virus."""
    counts = CALLS["called"][f"{share:g}"]
    return counts["viral"] / CALLS["viral_reads"], counts["other"] / CALLS["other_reads"]


def test_rates_are_those_measured() -> None:
    measures = json.loads(MEASURED.read_bytes())["views"]["all"]["overall"]["measures"]
    assert measures["recall_at_1_percent"]["value"] == pytest.approx(RECALL_AT_1, abs=6e-4)
    for rate in (RECALL_AT_1, *called_at(0.5), called_at(0.01)[0]):
        assert f"{100 * rate:.1f} %" in PAGE
    assert f"one in {1 / called_at(0.01)[1]:,.0f}" in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} %")
def test_the_table_follows(row: tuple[str, ...]) -> None:
    prevalence, viral, *shown = (cell.replace(",", "") for cell in row)
    viral_reads = float(viral)
    others = 100_000 - viral_reads
    assert viral_reads == 1000 * float(prevalence)
    expected: list[str] = []
    for recall, false in ((RECALL_AT_1, 0.01), called_at(float(prevalence) / 100)):
        found, wrong = recall * viral_reads, false * others
        right = f"{100 * found / (found + wrong):.1f}" if found + wrong else "-"
        expected += [f"{found:.0f}", f"{wrong:.0f}", right]
    assert shown == expected


def test_the_table_is_found() -> None:
    assert len(ROWS) == 4


def test_the_method_names_what_there_is() -> None:
    page = (ROOT / "docs" / "method.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+\.py`) \| ([^|]*)\|$", page, re.MULTILINE)
    assert len(rows) > 5
    for files, names in rows:
        paths = [ROOT / "src" / "virnucpro" / file for file in re.findall(r"`([^`]+)`", files)]
        text = "".join(path.read_text() for path in paths)
        for name in re.findall(r"`([^`]+)`", names):
            assert re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), name
