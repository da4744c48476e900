"""What would fail at the end of a run fails at its start."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import virnucpro
from processes import EXAMPLES
from virnucpro.cli.app import app
from virnucpro.errors import BundleError, RunError, SettingsError
from virnucpro.training.tuning import Tuning

GENES = "".join(f">{i}\n{'GCCGGCGAC' * (40 + i)}\n" for i in range(8))


def predict(folder: Path) -> None:
    virnucpro.predict(EXAMPLES[1], folder / "out", device="cpu")


def predict_samples(folder: Path) -> None:
    (folder / "sheet.csv").write_text(f"sample,files\none,{EXAMPLES[1]}\n")
    virnucpro.predict_samples(folder / "sheet.csv", folder / "out", device="cpu")


def embed(file_format: str) -> Callable[[Path], None]:
    def embed_so(folder: Path) -> None:
        (folder / "p.fa").write_text(">p\nMKV\n")
        model = "compact-pair:protein"
        virnucpro.embed(folder / "p.fa", folder / "out", model=model, file_format=file_format)

    return embed_so


def train(folder: Path) -> None:
    for name in ("virus.fa", "other.fa"):
        (folder / name).write_text(GENES)
    virnucpro.train([folder / "virus.fa", folder / "other.fa"], folder / "out", group="record")


def evaluate(folder: Path) -> None:
    (folder / "p.tsv").write_text("record\tp_virus\na\t0.9\nb\t0.1\n")
    (folder / "l.tsv").write_text("record\tis_virus\na\t1\nb\t0\n")
    virnucpro.evaluate(folder / "p.tsv", folder / "l.tsv", folder / "out")


@pytest.mark.parametrize(
    ("command", "library", "said"),
    [
        (predict, "altair", "the report needs virnucpro.prediction.* or give --no-report"),
        (predict_samples, "vl_convert", "the report needs virnucpro.prediction.* .*--no-report"),
        (embed("hdf5"), "h5py", "--format hdf5 needs h5py .* or give another format"),
        (embed("parquet"), "pyarrow.parquet", "--format parquet needs pyarrow.parquet"),
        (train, "matplotlib.figure", "train needs matplotlib.figure .*pip install matplotlib"),
        (evaluate, "sklearn.metrics", "evaluate needs sklearn.metrics .*pip install scikit-learn"),
        (evaluate, "matplotlib.figure", "evaluate needs matplotlib.figure .*pip install"),
    ],
)
def test_a_library_that_is_needed_at_the_end_is_missed_at_the_start(
    command: Callable[[Path], None],
    library: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawing = ("virnucpro.prediction.report.page", "virnucpro.prediction.report.charts")
    for name in [name for name in sys.modules if name.startswith(drawing)]:
        monkeypatch.delitem(sys.modules, name)
        package, _, module = name.rpartition(".")
        monkeypatch.delattr(sys.modules[package], module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingsError, match=said):
        command(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["bench --sizes compact", "models verify compact"])
def test_figures_that_cannot_be_written_are_not_measured(command: str, tmp_path: Path) -> None:
    for place, said in (("none/x.json", "none: is not a directory"), ("", "is a directory")):
        done = CliRunner().invoke(app, [*command.split(), "--json", str(tmp_path / place)])
        assert isinstance(done.exception, RunError)
        assert said in str(done.exception)


def test_an_executor_that_is_none_is_refused_though_none_is_needed(tmp_path: Path) -> None:
    wrong: Any = "none"
    with pytest.raises(SettingsError, match="--executor none: give local, ray, launched"):
        virnucpro.train(tmp_path / "none", tmp_path / "out", recipe=Tuning(), executor=wrong)


def test_a_report_that_cannot_be_written_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match="none: is not a directory; create it, or give a file elsewhere"
    ):
        virnucpro.report(tmp_path, tmp_path / "none" / "x.html")


def test_a_calibration_whose_place_is_taken_is_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is there already; give a new directory"):
        virnucpro.calibrate(tmp_path / "no run", tmp_path / "no labels", out=tmp_path)
