"""The wheel holds the package with its data, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from processes import ROOT

SOURCES = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", directory, ROOT], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = directory.glob("*.whl")
    return path


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in (SOURCES / "virnucpro").rglob("*") if path.is_file())
    assert names == {
        str(path.relative_to(SOURCES)) for path in files if "__pycache__" not in path.parts
    }
    assert {
        "virnucpro/py.typed",
        "virnucpro/bundles/compact/README.md",
        "virnucpro/bundles/compact/bundle.json",
        "virnucpro/bundles/compact/protein_encoder.safetensors",
        "virnucpro/cli/schemas/tables.json",
    } <= names


def test_it_names_no_place_of_the_machine_that_built_it(wheel: Path) -> None:
    places = [str(place).encode() for place in (ROOT, wheel.parent)]
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert not any(place in content for place in places), name


def test_it_brings_the_program_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        about = {
            name.split(".dist-info/")[1]: name for name in archive.namelist() if "-info/" in name
        }
        entry_points = archive.read(about["entry_points.txt"]).decode()
        metadata = archive.read(about["METADATA"]).decode()
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= about.keys()
    assert "virnucpro = virnucpro.__main__:main" in entry_points
    assert "Requires-Dist: torch>=" in metadata
