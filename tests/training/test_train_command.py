"""`virnucpro train` as users run it: real processes, real files, the embedded encoders."""

import hashlib
import json
import random
import signal
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import virnucpro
from conftest import SIX_FRAMES_PRECISION
from processes import run, start
from virnucpro.bundles import load_bundle
from virnucpro.classify.head import Head
from virnucpro.errors import InputError, RunError, VirnucproError
from virnucpro.training.features import FeatureSet
from virnucpro.training.heads import ORIGINAL, Examples, HeadRecipe, fit_head
from virnucpro.training.labelled import Labelled, read_classes
from virnucpro.training.output_directory import locked_directory
from virnucpro.training.training_report import Report, bundle_card

#: Codons of either kind of gene, none of them a stop on either strand or in another frame.
KINDS = {"virus_made": ["GCC", "GGC", "GAC"], "other_made": ["CGG", "CTC", "CCG"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 24 genes of each of two kinds."""
    moments = random.Random(2)
    directory = tmp_path_factory.mktemp("data")
    for kind, codons in KINDS.items():
        with (directory / f"{kind}.fa").open("w") as file:
            for i in range(24):
                letters = "".join(moments.choices(codons, k=moments.randint(60, 160)))
                file.write(f">{kind}{i}\n{letters}\n")
    return directory


def digests(out: Path) -> dict[str, str]:
    """Return the digest of each file that a training writes."""
    names = ["training.json", "curves.csv", "curves.png", "records.fasta", "features/features.npy"]
    paths = [*(out / name for name in names), *sorted((out / "bundle").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module", params=["compact", "compact-pair"])
def options(request: pytest.FixtureRequest) -> list[str]:
    """Return the options of a training with one network for all frames, or with two encoders."""
    return ["--encoders", request.param, "--device", "cpu", "--group", "record"]


@pytest.fixture(scope="module")
def trained(data: Path, options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    done = run("train", data, "-o", out, *options)
    assert done.returncode == 0, done.stderr
    assert "use it with virnucpro predict --bundle" in done.stderr
    return out


def test_a_training_holds_its_options(trained: Path, data: Path, options: list[str]) -> None:
    found = tomllib.loads((trained / "config.toml").read_text())["train"]
    assert (found["inputs"], found["out"]) == ([str(data)], str(trained))
    assert found["encoders"] == options[1]
    six_frames = ("all", SIX_FRAMES_PRECISION)
    assert found["chunk-length"] == 500
    assert (found["frames"], found["precision"]) == (
        six_frames if options[1] == "compact" else ("open", "fp32")
    )


def test_a_trained_bundle_tells_what_it_was_shown_and_predicts(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    report = json.loads((trained / "training.json").read_text())
    assert report["metrics"]["dev"]["auroc"] > 0.99
    assert sum(map(sum, report["classes"].values())) == 48
    bundle = load_bundle(trained / "bundle")
    assert bundle.manifest.metrics["dev"]["auroc"] == report["metrics"]["dev"]["auroc"]
    assert "virus_made" in (trained / "bundle" / "README.md").read_text()
    done = run("predict", data / "virus_made.fa", "-o", tmp_path / "p", "--bundle", bundle.path)
    assert done.returncode == 0, done.stderr
    calls = json.loads((tmp_path / "p" / "summary.json").read_text())["calls"]
    assert calls["virus"] >= 23


def test_features_are_as_numpy_writes_them_and_refused_when_cut_short(
    trained: Path, tmp_path: Path
) -> None:
    found = FeatureSet.open(trained / "features")
    for name, array in (("frames.npy", found.frame_S6), ("features.npy", found.features_SF)):
        np.save(tmp_path / name, array)
        assert (tmp_path / name).read_bytes() == (trained / "features" / name).read_bytes()
    with (tmp_path / "features.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(RunError, match="the features are damaged; remove it, then rerun"):
        FeatureSet.open(tmp_path)


def test_the_same_training_gives_the_same_bytes_killed_or_not(
    trained: Path, data: Path, options: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command: list[str | Path] = ["train", data, "-o", out, *options]
    process = start(*command)
    deadline = time.monotonic() + 60
    while not (out / "features").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for _ in range(2):  # goes on, then finds all of it done
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert digests(out) == digests(trained)


def test_another_training_in_the_same_directory_is_refused(
    trained: Path, data: Path, options: list[str]
) -> None:
    done = run("train", data, "-o", trained, "--seed", "2", *options)
    assert done.returncode == 1
    assert "holds another training (seed was 1, is 2)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_other_sequences_in_the_same_directory_are_refused(
    trained: Path, data: Path, options: list[str], tmp_path: Path
) -> None:
    before = digests(trained)
    for path in data.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "virus_more.fa").write_text(f">more\n{'GCCGAC' * 40}\n")
    with pytest.raises(RunError, match=r"sequences was 48 \(sha256 \w+\), is 49 \(sha256 \w+\)"):
        virnucpro.train([tmp_path], trained, encoders=options[1], group="record", device="cpu")
    assert digests(trained) == before


def test_a_directory_is_held_to_its_sequences_and_labels(data: Path, tmp_path: Path) -> None:
    given = read_classes([data])
    left = tmp_path / "settings.json.0123abcd.partial"
    left.write_text("of one that was killed")

    def bind(directory: Path, labelled: Labelled) -> None:
        with locked_directory(directory, labelled, {"seed": 1}):
            pass

    for _ in range(2):
        bind(tmp_path, given)
    assert not left.exists()
    first, *others = given.records
    swapped = Labelled([replace(first, is_virus=not first.is_virus), *others])
    with pytest.raises(RunError, match=r"holds another training \(sequences was 48 "):
        bind(tmp_path, swapped)
    (tmp_path / "settings.json").write_text("// of an editor")
    with pytest.raises(
        RunError, match=r"settings\.json: does not belong to a training .*; give a new"
    ):
        bind(tmp_path, given)
    with pytest.raises(RunError, match="is not empty and holds no training"):
        bind(data, given)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "'' is no name for a bundle"),
        ({"name": "one/two"}, "'one/two' is no name for a bundle"),
        ({"seed": -1}, "--seed -1: give 0 or more"),
        ({"seed": 1 << 63}, "--seed 9223372036854775808: give 0 or more, less than 2.63"),
        ({"chunk_length": 0}, "--chunk-length 0: give 3 bases, one codon, to 1,000,000"),
        (
            {"chunk_length": 1_000_001},
            "1000001: give 3 bases, one codon, to 1,000,000",
        ),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_the_beginning(
    data: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(VirnucproError, match=said):
        virnucpro.train([data], tmp_path / "out", device="cpu", **options)
    assert not (tmp_path / "out").exists()


def test_a_label_of_which_nothing_is_held_out_is_refused_at_the_beginning(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "virus.fa").write_text(f">alone\n{'GCCGAC' * 40}\n")
    notes: list[str] = []
    with pytest.raises(InputError, match="held-out set: 0 sequences are viral and 2 are not; give"):
        virnucpro.train(
            [tmp_path / "virus.fa", data / "other_made.fa"], tmp_path / "out",
            group="record", device="cpu", on_note=notes.append,
        )  # fmt: skip
    assert notes == ["virus: has one group, which is trained on, so nothing is measured on it"]
    assert not (tmp_path / "out").exists()


def test_a_card_counts_a_single_chunk() -> None:
    metrics = {"dev": {"chunks": 1.0, "recall": 1.0}, "dev virus": {"chunks": 1200.0}}
    report = Report(1, {}, (1, 1), [], 1, {}, metrics, [])
    card = bundle_card(report, "made", "By hand.")
    assert "| dev | 1 | 1.000 |\n| dev virus | 1,200 |  |" in card


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--group", "family"], "--group family: give record, genome, clusters"),
        (["--recipe", "best"], "--recipe best: give default, original"),
        (["--dev-share", "1"], "--dev-share 1.0: give a share"),
        (["--frames", "half"], "--frames half: give open, segments, whole, all"),
        (["--frames", "open"], "--frames open: compact was made for all frames; leave it out"),
        (["--encoders", "none"], "no bundle 'none'"),
        (["--coding-only"], "compact reads all frames as one; give --encoders compact-pair"),
        (["--coding-only", "--encoders", "compact-pair"], "no sequence has annotation"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    data: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    done = run("train", data, "-o", tmp_path / "out", "--device", "cpu", "-q", *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_one_label_alone_is_refused(data: Path, tmp_path: Path) -> None:
    done = run("train", data / "virus_made.fa", "-o", tmp_path / "out", "-q")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def made_examples(seed: int, frames: int = 400) -> Examples:
    moments = np.random.default_rng(seed)
    is_virus = moments.random(frames) < 0.3
    features = moments.normal(5, 2, (frames, 12)).astype(np.float32)
    features[:, 3] += 4 * is_virus
    return Examples(features, np.arange(frames), is_virus)


@pytest.mark.parametrize("recipe", [HeadRecipe(hidden=16, epochs=8), ORIGINAL])
def test_the_weights_kept_are_those_of_the_best_epoch_on_features_as_they_are(
    recipe: HeadRecipe,
) -> None:
    train, dev = made_examples(1), made_examples(2)
    fitted = fit_head(train, dev, recipe, torch.device("cpu"))
    losses = [epoch.dev_loss for epoch in fitted.epochs]
    assert fitted.best == 1 + int(np.argmin(losses))
    head = Head(12, recipe.hidden)
    head.load_state_dict(fitted.state)
    with torch.no_grad():
        logits = head.eval()(torch.from_numpy(dev.features_SF))
    weights = None
    if recipe.is_balanced:
        counts = np.array([(~train.is_virus).sum(), train.is_virus.sum()])
        weights = torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)
    labels = torch.from_numpy(dev.is_virus.astype(np.int64))
    loss = torch.nn.functional.cross_entropy(logits, labels, weights)
    assert float(loss) == pytest.approx(min(losses), rel=1e-4)
    again = fit_head(train, dev, recipe, torch.device("cpu"))
    assert all(torch.equal(again.state[name], x) for name, x in fitted.state.items())


def test_features_that_are_not_finite_are_refused() -> None:
    train, dev = made_examples(1), made_examples(2)
    train.features_SF[7, 2] = np.nan
    with pytest.raises(InputError, match="features are not finite"):
        fit_head(train, dev, HeadRecipe(hidden=4, epochs=1), torch.device("cpu"))
