"""`doctor`: what it finds here, what it says of what is broken, and how it ends."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from processes import run
from virnucpro import files as storage
from virnucpro.bundles.store import EMBEDDED
from virnucpro.doctor import Report, doctor
from virnucpro.encoders.precision import int8_fault
from virnucpro.errors import SettingsError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where bundles are added, with a copy of `compact` whose head is damaged."""
    home = tmp_path / "home"
    shutil.copytree(EMBEDDED["compact"], home / "damaged")
    with (home / "damaged" / "head.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    monkeypatch.setenv("VIRNUCPRO_HOME", str(home))
    return home


def test_a_machine_that_is_well_has_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRNUCPRO_HOME", str(tmp_path / "none"))
    found = doctor()
    assert found.can_predict
    assert not [p for p in found.problems if "free" not in p.what]  # the disk is what it is
    assert {p.name: p.version for p in found.packages}["torch"] == torch.__version__
    cpu = found.devices[-1]
    eight = [] if int8_fault() else ["int8"]
    assert (cpu.name, cpu.precisions, cpu.default) == ("cpu", ["fp32", "bf16", *eight], "fp32")
    assert cpu.ways == ["fused steps for a CPU", "plain PyTorch"]
    assert 0 < cpu.free < cpu.memory
    assert {w.name for w in found.weights} == set(EMBEDDED)
    assert {p.what for p in found.places} >= {"bundles", "downloads", "this directory"}


def test_a_user_without_a_home_directory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "VIRNUCPRO_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as in a container
    with pytest.raises(SettingsError, match="this user has no home directory; set HOME"):
        doctor()
    monkeypatch.setenv("VIRNUCPRO_HOME", "bundles")
    assert storage.home() == Path("bundles")


def test_a_damaged_bundle_is_named_and_does_not_stop_predict(home: Path) -> None:
    found = doctor()
    (problem,) = [p for p in found.problems if "damaged" in p.what]
    assert "its sha256 is not the manifest's" in problem.what
    assert problem.to_do == f"rm -r {home / 'damaged'}, then create it again"
    assert found.can_predict
    weights = {w.name: w for w in found.weights}
    assert weights["damaged"].fault == problem.what
    assert not weights["compact"].fault
    (home / "damaged" / "head.safetensors").unlink()
    (home / "damaged" / "bundle.json").write_text("{}")
    assert "cannot be read" in doctor().weights[-1].fault


def test_the_command_ends_with_1_where_predict_cannot_run(home: Path) -> None:
    before = (
        "from pathlib import Path; from virnucpro.bundles import store;"
        f"store.EMBEDDED['compact'] = Path({str(home / 'damaged')!r})"
    )
    broken = run("doctor", before=before)
    assert broken.returncode == 1
    assert "virnucpro predict does not run here" in broken.stdout
    assert "to do: pip install --force-reinstall virnucpro" in broken.stdout
    assert not broken.stderr
    quiet = run("doctor", "--quiet", before=before)
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert all(line.startswith("problem: ") for line in quiet.stderr.splitlines())
    whole = run("doctor", "--json")
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["weights"][-1]["name"] == "damaged"


def test_a_gpu_that_does_not_compute_is_a_problem_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch.cuda.is_available():
        pytest.skip("the GPU computes")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    found = doctor()
    (problem,) = [p for p in found.problems if p.what.startswith("cuda:0")]
    assert "give --device cpu" in problem.to_do
    assert not found.can_predict
    assert [device.name for device in found.devices] == ["cpu"]


def test_what_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    found: Report = doctor()
    (problem,) = [p for p in found.problems if p.what.startswith("torch")]
    assert problem.what == "torch 2.9.1+cpu is older than 2.11"
    assert problem.to_do == "pip install 'torch>=2.11'"
    assert not found.can_predict
