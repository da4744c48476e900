"""`virnucpro train --end-to-end` as users run it: real processes, real files, `compact`."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import virnucpro
from processes import run
from virnucpro.bundles import load_bundle
from virnucpro.errors import RunError
from virnucpro.training.tuning import Tuning

#: Codons of either kind of gene, none of them a stop on either strand or in another frame.
KINDS = {"virus_made": ["GCC", "GGC", "GAC"], "other_made": ["CGG", "CTC", "CCG"]}
SHORT = Tuning(steps=6, rounds=3, bases=4000, learning_rate=1e-3, average=0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 20 genes of each of two kinds."""
    moments = random.Random(3)
    directory = tmp_path_factory.mktemp("data")
    for kind, codons in KINDS.items():
        with (directory / f"{kind}.fa").open("w") as file:
            for i in range(20):
                letters = "".join(moments.choices(codons, k=moments.randint(60, 160)))
                file.write(f">{kind}{i}\n{letters}\n")
    return directory


def digests(out: Path) -> dict[str, str]:
    """Return the digest of each file that a training writes."""
    paths = [out / "training.json", out / "curves.csv", *sorted((out / "bundle").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def tuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "out"
    virnucpro.train([data], out, recipe=SHORT, group="record", device="cpu")
    return out


def test_the_network_learns_and_predict_takes_it(tuned: Path, data: Path, tmp_path: Path) -> None:
    report = json.loads((tuned / "training.json").read_text())
    losses = [epoch[2] for epoch in report["epochs"]]
    assert losses[-1] < losses[0]
    assert report["best"] == 1 + losses.index(min(losses))
    assert report["recipe"]["steps"] == 6
    bundle, old = load_bundle(tuned / "bundle"), load_bundle("compact")
    assert bundle.manifest.frames == "all"
    assert bundle.manifest.files != old.manifest.files
    assert len({path.stat().st_mode for path in bundle.path.iterdir()}) == 1
    assert "trained further" in (bundle.path / "README.md").read_text()
    summary = virnucpro.predict(
        data / "virus_made.fa", tmp_path / "p", bundle=bundle.path, report=False
    )
    assert summary.calls["virus"] + summary.calls["other"] == 20


def test_the_same_training_gives_the_same_bytes(tuned: Path, data: Path, tmp_path: Path) -> None:
    torch.rand(3)  # what was drawn before does not matter
    virnucpro.train([data], tmp_path / "again", recipe=SHORT, group="record", device="cpu")
    assert digests(tmp_path / "again") == digests(tuned)


def test_a_killed_training_goes_on_and_gives_the_same_bytes(
    tuned: Path, data: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, virnucpro; from virnucpro.training.tuning import Tuning;"
        f"virnucpro.train([sys.argv[1]], sys.argv[2], recipe={SHORT!r}, group='record',"
        "    device='cpu', on_epoch=print)"
    )
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(data), str(killed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert digests(killed) == digests(tuned)
    assert done.stdout.count("Epoch(") < SHORT.rounds  # those before it was killed stay


def test_a_bundle_whose_writing_was_killed_is_written_again(
    tuned: Path, data: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(tuned, killed)
    (killed / "bundle" / "bundle.json").unlink()
    (killed / "bundle" / "head.safetensors").unlink()
    (killed / ".bundle-begun").mkdir()
    virnucpro.train([data], killed, recipe=SHORT, group="record", device="cpu")
    assert digests(killed) == digests(tuned)
    assert not (killed / ".bundle-begun").exists()
    (killed / "checkpoint.pt").write_bytes((killed / "checkpoint.pt").read_bytes()[:1000])
    message = r"checkpoint\.pt: cannot be read \(File is not a zip file\); remove it to start the"
    with pytest.raises(RunError, match=message):
        virnucpro.train([data], killed, recipe=SHORT, group="record", device="cpu")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--encoders", "compact-pair"], "the encoders of compact-pair stay as they are"),
        (["--steps", "3"], "--steps 3: give 8 or more"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    data: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    done = run("train", data, "-o", tmp_path / "out", "-q", "--end-to-end", *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_steps_alone_are_refused(data: Path, tmp_path: Path) -> None:
    done = run("train", data, "-o", tmp_path / "out", "--steps", "9")
    assert done.returncode == 2
    assert "--steps needs --end-to-end" in done.stderr


def test_another_training_in_the_same_directory_is_refused(tuned: Path, data: Path) -> None:
    with pytest.raises(RunError, match="holds another training"):
        virnucpro.train([data], tuned, group="record", device="cpu")
