"""`compact` has learned from all data; what is said of it was measured of its twin."""

import re

import pytest

from processes import ROOT
from virnucpro.bundles import load_bundle

COMPACT = load_bundle("compact", is_checked=True)
TWIN = load_bundle(str(ROOT / "benchmarks" / "compact-twin"), is_checked=True)
CARD = (COMPACT.path / "README.md").read_text()


def test_the_twin_was_made_by_the_same_recipe_and_is_another() -> None:
    ours, its = COMPACT.manifest, TWIN.manifest
    assert (ours.version, ours.frames, ours.chunk_lengths) == (
        its.version, its.frames, its.chunk_lengths,
    )  # fmt: skip
    for name in ("recipe", "teachers"):
        assert ours.provenance[name] == its.provenance[name]
    assert ours.files.keys() == its.files.keys()
    assert all(file.sha256 != its.files[name].sha256 for name, file in ours.files.items())


def test_compact_has_its_calibration_and_says_so() -> None:
    ours, its = COMPACT.manifest.calibration, TWIN.manifest.calibration
    assert ours is not None
    assert its is not None
    assert (ours.lines, ours.prevalence, ours.metrics) == (its.lines, its.prevalence, its.metrics)
    assert "compact-twin" in ours.data


@pytest.mark.parametrize("length", [500, 300, 150])
def test_measures_of_the_card_are_the_twins(length: int) -> None:
    measures = TWIN.manifest.metrics[f"{length} bp"]
    assert COMPACT.manifest.metrics[f"{length} bp, of the twin"] == measures
    (row,) = re.findall(rf"^\| {length} bp \| (0.*) \|$", CARD, re.MULTILINE)
    shown = [cell.split()[0] for cell in row.split("|")]
    names = ("auroc", "auprc", "recall_at_1_percent", "recall_at_5_percent", "ece")
    for text, name in zip(shown, names, strict=True):
        assert float(text) == pytest.approx(measures[name], abs=6e-4)


def test_the_card_is_of_this_version() -> None:
    assert CARD.startswith(f"# compact {COMPACT.manifest.version}\n")
