"""The recipe with a very small network: it learns, is reproducible and gives a bundle."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import virnucpro
from bundle_files import Json, refusal, rewrite_manifest, set_in
from made_classes import write_classes
from processes import EXAMPLES
from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.manifest import DNA_FILE, TOKENIZER_FILE
from virnucpro.classify.classifier import FrameClassifier
from virnucpro.encoders.packing import one_thread_an_operation
from virnucpro.errors import RunError
from virnucpro.training import recipe as command
from virnucpro.training.classes import ClassData, load_classes
from virnucpro.training.export import export_bundle, record_metrics
from virnucpro.training.hyperparameters import ALL_FRAMES, Recipe, sized
from virnucpro.training.loop import Loop
from virnucpro.training.recipe import teacher_of, train
from virnucpro.training.trainee import log_odds
from virnucpro.training.windows import Fragments, Library

CPU = torch.device("cpu")
TINY = Recipe(sized(1, 32, 1, 32), pretrain_steps=3, train_steps=6, bases=2000, average=0.9)
#: Learns in a second.
QUICK = replace(TINY, pretrain_steps=1, train_steps=40, bases=6000, learning_rate=8e-3)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread; several threads are slower for small networks."""
    with one_thread_an_operation():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def classes(data: Path) -> list[ClassData]:
    return load_classes([data])


def trained(
    classes: list[ClassData],
    recipe: Recipe,
    teacher: Callable[[Fragments], Tensor] | None = None,
) -> FrameClassifier:
    """Train to the end."""
    found = train(classes, recipe, CPU, teacher=teacher, on_line=lambda _: None)
    assert found is not None
    return found


def assert_same(found: FrameClassifier, expected: FrameClassifier) -> None:
    state = expected.state_dict()
    assert all(torch.equal(x, state[name]) for name, x in found.state_dict().items())


# ---- the loop


def test_training_twice_gives_the_same_weights_and_another_seed_others(
    classes: list[ClassData],
) -> None:
    first, again = trained(classes, TINY), trained(classes, TINY)
    other = trained(classes, replace(TINY, seed=2))
    assert_same(again, first)
    name = "head.output_layer.weight"
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_training_goes_on_from_where_its_time_was_over(
    classes: list[ClassData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = trained(classes, TINY)
    seconds = count()
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("virnucpro.training.loop.time", clock)
    found, attempts, lines = None, 0, list[str]()
    path = tmp_path / "checkpoint"
    while found is None:
        attempts += 1
        assert attempts < 20
        found = train(classes, TINY, CPU, checkpoint=path, seconds=6, on_line=lines.append)
    assert attempts > 3
    steps = [f"pretrain {i}/3" for i in range(1, 4)] + [f"train {i}/6" for i in range(1, 7)]
    assert [" ".join(line.split()[:2]) for line in lines] == steps
    assert_same(found, unbroken)
    finished = train(classes, TINY, CPU, checkpoint=path, on_line=lines.append)
    assert finished is not None
    assert_same(finished, unbroken)
    assert len(lines) == len(steps)
    with pytest.raises(RunError, match="is of another recipe"):
        train(classes, replace(TINY, seed=2), CPU, checkpoint=path)


def test_the_average_follows_the_weights(
    classes: list[ClassData], monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Tensor]] = []
    add = Loop._add_to_average

    def noted(loop: Loop) -> None:
        states.append({name: x.detach().clone() for name, x in loop._state().items()})
        add(loop)

    monkeypatch.setattr(Loop, "_add_to_average", noted)
    averaged = trained(classes, TINY).state_dict()
    assert len(states) == TINY.train_steps
    last = trained(classes, replace(TINY, average=0.0)).state_dict()
    for name, expected in states[0].items():
        if expected.is_floating_point():
            for state in states[1:]:
                expected = 0.9 * expected + 0.1 * state[name]  # noqa: PLW2901
            torch.testing.assert_close(averaged[name], expected)
            assert torch.equal(last[name], states[-1][name])


@pytest.fixture(scope="module")
def learned(classes: list[ClassData]) -> FrameClassifier:
    return trained(classes, QUICK)


def share_right(classifier: FrameClassifier, classes: list[ClassData]) -> float:
    """Return the accuracy of a classifier on fragments of the training records."""
    torch.manual_seed(3)
    fragments = Library(classes, CPU).cut(300, 200)
    with torch.inference_mode():
        is_virus_B = log_odds(classifier, fragments, torch.float32) > 0
    return (is_virus_B == (fragments.is_virus_B > 0)).float().mean().item()


def test_the_classifier_learns(learned: FrameClassifier, classes: list[ClassData]) -> None:
    assert share_right(learned, classes) > 0.95


def test_a_teacher_is_learned_from(learned: FrameClassifier, classes: list[ClassData]) -> None:
    fragments = Library(classes, CPU).cut(5, 150)
    other = trained(classes, TINY)
    with torch.inference_mode():
        odds = [log_odds(model, fragments, torch.float32) for model in (learned, other)]
    torch.testing.assert_close(teacher_of([learned, other])(fragments), sum(odds) / 2)
    wrong = [c._replace(is_virus=not c.is_virus) for c in classes]
    believing = replace(QUICK, losses=replace(QUICK.losses, teacher_weight=1.0))
    taught = trained(wrong, believing, teacher_of([learned]))
    assert share_right(taught, classes) > 0.95


# ---- bundles


@pytest.fixture(scope="module")
def bundle(learned: FrameClassifier, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(
        learned, None, tmp_path_factory.mktemp("bundles") / "tiny", name="tiny", version="1",
        chunk_lengths=(300,), frames=ALL_FRAMES, provenance={}, metrics={},
    )  # fmt: skip


def test_predict_takes_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    recorded = record_metrics(bundle, {"dev": {"auroc": 0.5}})
    assert recorded.manifest.metrics == {"dev": {"auroc": 0.5}}
    assert (recorded.manifest.frames, recorded.manifest.chunk_lengths) == ("all", (300,))
    out = tmp_path / "out"
    summary = virnucpro.predict(EXAMPLES[1], out, bundle=bundle.path, device="cpu", report=False)
    assert summary.bundle == "tiny 1"
    assert summary.calls["unscored"] == 0
    lines = (out / "frames.tsv").read_text().splitlines()[1:]
    assert {line.split("\t")[4] for line in lines} == {"all"}


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


def add_dna_encoder(manifest: Json) -> None:
    manifest["dna_encoder"] = {
        "architecture": "dnabert_s",
        "layers": 1, "width": 24, "heads": 3, "feed_forward": 32, "vocabulary": 4096,
    }  # fmt: skip
    files = manifest["files"]
    files |= dict.fromkeys((DNA_FILE, TOKENIZER_FILE), files["head.safetensors"])


UNFIT: dict[str, tuple[Callable[[Json], object], str]] = {
    "open frames": (lambda m: m.update(frames="open"), "frames open do not fit its encoders"),
    "a DNA encoder as well": (add_dna_encoder, "frames all do not fit its encoders"),
    "a wider head": (set_in("protein_encoder", head_width=64), "width 32 does not fit heads of 64"),
    "a head left over": (set_in("protein_encoder", head_width=20), "does not fit heads of 20"),
    "an odd head": (set_in("protein_encoder", head_width=1), "width 32 does not fit heads of 1"),
    "windows": (set_in("protein_encoder", width=48), "width 48 does not fit heads of 32"),
    "frames": (set_in("protein_encoder", frame_width=80), "width 80 does not fit heads of 32"),
    "other weights": (set_in("protein_encoder", width=64), "where the manifest's sizes need"),
    "another head": (set_in("head", hidden=16), "where the manifest's sizes need"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_manifest_that_does_not_fit_is_refused_in_one_line(copy: Path, name: str) -> None:
    edit, message = UNFIT[name]
    rewrite_manifest(copy, edit)
    assert message in refusal(copy)


def test_two_encoders_cannot_read_all_frames(tiny_bundle: Bundle, tmp_path: Path) -> None:
    pair = Path(shutil.copytree(tiny_bundle.path, tmp_path / "pair"))
    rewrite_manifest(pair, lambda manifest: manifest.update(frames="all"))
    assert "frames all do not fit its encoders" in refusal(pair)


# ---- the command


def test_the_command_writes_a_bundle(data: Path, bundle: Bundle, tmp_path: Path) -> None:
    words = [
        "--data", data, "--out", tmp_path / "out", "--version", "2", "--device", "cpu",
        "--size", 1, 32, 1, 64, "--scale", 1e-6, "--bases", 6000, "--teacher", bundle.path,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "virnucpro.training.recipe", *map(str, words)],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'out'} (sha256 of its manifest: " in done.stdout
    manifest = load_bundle(tmp_path / "out", is_checked=True).manifest
    assert (manifest.name, manifest.version, manifest.width) == ("compact", "2", 64)
    assert (manifest.frames, manifest.chunk_lengths) == ("all", (500, 300))
    assert manifest.provenance["teachers"] == "tiny 1"
    assert "pretrain_steps=0, train_steps=1," in manifest.provenance["recipe"]


def test_the_command_stops_when_its_time_is_over(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "checkpoint", tmp_path / "out"
    words = ["--data", data, "--out", out, "--version", "2", "--device", "cpu", "--minutes", 0]
    small = ["--size", 1, 32, 1, 32, "--checkpoint", path]
    monkeypatch.setattr(sys, "argv", ["recipe", *map(str, [*words, *small])])
    command.main()
    assert f"the time is over; repeat the command to resume from {path}" in capsys.readouterr().out
    assert path.exists()
    assert not out.exists()
