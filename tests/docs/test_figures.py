"""The worked example and the tables of docs/results.md follow from what was measured."""

import json
import re

import pytest

from processes import ROOT

PAGE = (ROOT / "docs" / "results.md").read_text()
BENCHMARKS = ROOT / "benchmarks"
MEASURED = BENCHMARKS / "2026-11-23-compact-500.json"
CALLS = json.loads((BENCHMARKS / "2026-11-23-compact-calls.json").read_bytes())
ROWS = re.findall(r"^\| ([\d.]+) % \|" + r" ([\d.,]+|-)(?: %)? \|" * 7 + "$", PAGE, re.MULTILINE)
#: Recall at 1 % false positives, as on the page.
RECALL_AT_1 = 0.423


def called_at(share: float) -> tuple[float, float]:
    """Return the shares of viral and other reads that are called virus."""
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


@pytest.mark.parametrize("length", [500, 300, 150])
def test_short_reads(length: int) -> None:
    found = json.loads((BENCHMARKS / f"2026-11-23-compact-{length}.json").read_bytes())
    measures = found["views"]["all"]["overall"]["measures"]
    called = CALLS["called" if length == 500 else f"called_of_{length}_bp"]
    shares = [measures[f"recall_at_{rate}_percent"]["value"] for rate in (1, 5)]
    shares += [called[share]["viral"] / CALLS["viral_reads"] for share in ("0.5", "0.1", "0.01")]
    cells = [f"{measures['auroc']['value']:.3f}", *(f"{100 * share:.1f} %" for share in shares)]
    assert f"| {length} bp | {' | '.join(cells)} |" in PAGE


@pytest.mark.parametrize("length", [1, 3, 10])
def test_contigs(length: int) -> None:
    found = json.loads((BENCHMARKS / "2026-11-23-contigs.json").read_bytes())[f"{length}000"]
    counts, total = found["viral, others"], (found["virus"], found["records"] - found["virus"])
    rolled_up = ", ".join(
        f"{100 * count / of:.1f} %" for count, of in zip(counts["rollup viral"], total, strict=True)
    )
    called = [counts[f"call virus where the share is {share}"][0] for share in (0.1, 0.01)]
    cells = [
        f"{found['auroc'][0]:.3f}", f"{100 * found['recall_at_1_percent'][0]:.1f} %", rolled_up,
        *(f"{100 * count / total[0]:.1f} %" for count in called),
    ]  # fmt: skip
    assert f"| {length} kb | {' | '.join(cells)} |" in PAGE


def test_the_method_names_what_there_is() -> None:
    page = (ROOT / "docs" / "method.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+\.py`) \| ([^|]*)\|$", page, re.MULTILINE)
    assert len(rows) > 5
    for files, names in rows:
        paths = [ROOT / "src" / "virnucpro" / file for file in re.findall(r"`([^`]+)`", files)]
        text = "".join(path.read_text() for path in paths)
        for name in re.findall(r"`([^`]+)`", names):
            assert re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), name
