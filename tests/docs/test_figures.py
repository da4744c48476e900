"""The worked example in docs/results.md follows from what was measured."""

import json
import re

import pytest

from processes import ROOT

PAGE = (ROOT / "docs" / "results.md").read_text()
MEASURED = ROOT / "benchmarks" / "2026-11-23-compact-500.json"
ROWS = re.findall(r"^\| ([\d.]+) % \|" + r" ([\d.,]+)(?: %)? \|" * 7 + "$", PAGE, re.MULTILINE)
#: Recall at 1 % false positives; recall and false positives at the call, as the page says them.
RECALL_AT_1, RECALL, FALSE = 0.292, 0.730, 0.122


def test_rates_are_those_measured() -> None:
    measures = json.loads(MEASURED.read_bytes())["views"]["all"]["overall"]["measures"]
    for metric, rate in (
        ("recall_at_1_percent", RECALL_AT_1),
        ("recall_at_call", RECALL),
        ("false_positive_rate_at_call", FALSE),
    ):
        assert measures[metric]["value"] == pytest.approx(rate, abs=6e-4)
        assert f"{100 * rate:.1f} %" in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} %")
def test_the_table_follows(row: tuple[str, ...]) -> None:
    prevalence, viral, *shown = (float(cell.replace(",", "")) for cell in row)
    others = 100_000 - viral
    assert viral == 1000 * prevalence
    expected: list[float] = []
    for recall, false in ((RECALL_AT_1, 0.01), (RECALL, FALSE)):
        found, wrong = recall * viral, false * others
        expected += [round(found), round(wrong), round(100 * found / (found + wrong), 1)]
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
