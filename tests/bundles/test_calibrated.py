"""Bundles that say what their scores mean: written, read, and refused when they say nonsense."""

import json
from pathlib import Path

import pytest
import torch

from bundle_files import FILES, MANIFEST, Json, refusal, rewrite_manifest
from published_files import MLPClassifier
from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.assemble import bundle_with_head, with_calibration
from virnucpro.bundles.manifest import Calibration, CalibrationLine
from virnucpro.errors import BundleError

LINE: Json = {"chunks": 1, "scores": [0, 0.25, 1], "probabilities": [0.01, 0.5, 0.99]}
GOOD: Json = {
    "lines": [LINE, LINE | {"chunks": 5}],
    "prevalence": 0.5,
    "chunk_length": 300,
    "frames": "open",
    "data": "made by hand",
    "metrics": {"ece": 0.01},
}
CALIBRATION = Calibration(
    lines=(CalibrationLine(chunks=1, scores=(0, 0.25, 1), probabilities=(0.01, 0.5, 0.99)),),
    prevalence=0.5, chunk_length=300, frames="open", data="made by hand", metrics={"ece": 0.01},
)  # fmt: skip


def with_line(**values: object) -> Json:
    return GOOD | {"lines": [LINE | values]}


def test_a_good_calibration_is_read(copy: Path) -> None:
    rewrite_manifest(copy, lambda manifest: manifest.update(calibration=GOOD))
    found = load_bundle(copy).manifest.calibration
    assert found is not None
    assert [line.chunks for line in found.lines] == [1, 5]
    assert found.lines[0].scores == (0, 0.25, 1)


def test_a_bundle_need_not_have_one(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.manifest.calibration is None
    assert "calibration" not in json.loads((tiny_bundle.path / MANIFEST).read_bytes())


MANY = [k / 300 for k in range(301)]
HOSTILE: dict[str, Json] = {
    "falling probabilities": with_line(probabilities=[0.01, 0.995, 0.99]),
    "level probabilities": with_line(probabilities=[0.01, 0.5, 0.5]),
    "falling scores": with_line(scores=[0, 1.0, 0.5]),
    "equal scores": with_line(scores=[0, 0, 1]),
    "scores that start late": with_line(scores=[0.1, 0.25, 1]),
    "scores that end early": with_line(scores=[0, 0.25, 0.9]),
    "a score below 0": with_line(scores=[-1, 0.25, 1]),
    "a score above 1": with_line(scores=[0, 0.25, 2]),
    "a probability of 0": with_line(probabilities=[0, 0.5, 0.99]),
    "a probability of 1": with_line(probabilities=[0.01, 0.5, 1]),
    "a probability above 1": with_line(probabilities=[0.01, 0.5, 1.5]),
    "other lengths": with_line(probabilities=[0.01, 0.99]),
    "no knots": with_line(scores=[], probabilities=[]),
    "one knot": with_line(scores=[0], probabilities=[0.5]),
    "too many knots": with_line(scores=MANY, probabilities=[0.1 + x / 2 for x in MANY]),
    "text for a number": with_line(scores=[0, "0.25", 1]),
    "null for a number": with_line(scores=[0, None, 1]),
    "no lines": GOOD | {"lines": []},
    "too many lines": GOOD | {"lines": [LINE | {"chunks": k} for k in range(1, 30)]},
    "a line for no chunks": with_line(chunks=0),
    "a first line for two chunks": with_line(chunks=2),
    "two lines for one number": GOOD | {"lines": [LINE, LINE]},
    "lines for fewer and fewer": GOOD | {"lines": [LINE | {"chunks": k} for k in (1, 9, 5)]},
    "prevalence of 0": GOOD | {"prevalence": 0},
    "prevalence of 1": GOOD | {"prevalence": 1},
    "prevalence as text": GOOD | {"prevalence": "0.5"},
    "chunks of no length": GOOD | {"chunk_length": 0},
    "other frames": GOOD | {"frames": "closed"},
    "no word of the data": GOOD | {"data": ""},
    "long data": GOOD | {"data": "x" * 100_000},
    "an unknown field": GOOD | {"colour": "red"},
    "a missing field": {name: value for name, value in GOOD.items() if name != "prevalence"},
    "a list": [],  # type: ignore[dict-item]
}


@pytest.mark.parametrize("calibration", HOSTILE.values(), ids=HOSTILE)
def test_nonsense_is_refused_in_one_line(copy: Path, calibration: Json) -> None:
    rewrite_manifest(copy, lambda manifest: manifest.update(calibration=calibration))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("field", ["scores", "probabilities"])
def test_what_is_no_number_is_refused(copy: Path, field: str, number: str) -> None:
    rewrite_manifest(copy, lambda m: m.update(calibration=with_line(**{field: [0.125, 7777, 1]})))
    text = (copy / MANIFEST).read_text().replace("7777", number)
    (copy / MANIFEST).write_text(text)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


def test_files_are_linked_and_the_manifest_comes_back(tiny_bundle: Bundle, tmp_path: Path) -> None:
    made = with_calibration(tiny_bundle, CALIBRATION, directory=tmp_path / "new")
    assert load_bundle(tmp_path / "new").manifest.calibration == CALIBRATION
    assert made.manifest.files == tiny_bundle.manifest.files
    assert made.manifest.name == "tiny+calibration"
    assert made.sha256 != tiny_bundle.sha256
    assert all((made.path / name).samefile(tiny_bundle.path / name) for name in FILES)
    again = with_calibration(made, CALIBRATION, directory=tmp_path / "newer")
    assert again.manifest.name == "tiny+calibration"


def test_a_name_is_taken_once(tiny_bundle: Bundle, home: Path) -> None:
    made = with_calibration(tiny_bundle, CALIBRATION, name="mine")
    assert (made.path, made.manifest.name) == (home / "mine", "mine")
    with pytest.raises(BundleError, match="is there already"):
        with_calibration(tiny_bundle, CALIBRATION, name="mine")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("virnucpro-500", "comes without a calibration"),
        ("dnabert-s", "comes without a calibration"),
        ("compact", "comes with virnucpro"),
        ("../up", "is no name for a bundle"),
    ],
)
def test_names_of_others_are_refused(tiny_bundle: Bundle, name: str, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        with_calibration(tiny_bundle, CALIBRATION, name=name)


def test_a_directory_that_is_there_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is there already; give a new directory"):
        with_calibration(tiny_bundle, CALIBRATION, directory=tmp_path)


def test_a_damaged_file_is_not_linked(copy: Path, tmp_path: Path) -> None:
    bundle = load_bundle(copy)
    (copy / FILES[0]).write_bytes(b"damaged")
    with pytest.raises(BundleError, match="the bundle is damaged"):
        with_calibration(bundle, CALIBRATION, directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("home")
def test_another_head_leaves_the_calibration_behind(tiny_bundle: Bundle, tmp_path: Path) -> None:
    calibrated = with_calibration(tiny_bundle, CALIBRATION, directory=tmp_path / "new")
    width = tiny_bundle.manifest.width
    torch.save(MLPClassifier(width).state_dict(), tmp_path / "head.pth")
    derived = bundle_with_head(str(calibrated.path), tmp_path / "head.pth")
    assert load_bundle(derived).manifest.calibration is None
