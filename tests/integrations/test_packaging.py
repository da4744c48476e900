"""Image and conda package are made of what this tree holds and asks for."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import version

import pytest
import yaml
from packaging.requirements import Requirement

from processes import ROOT

DOCKERFILE = ROOT / "integrations" / "docker" / "Dockerfile"
RECIPE = ROOT / "integrations" / "conda" / "recipe.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: What PyPI's packages are called in conda-forge and bioconda, where that differs.
CONDA_NAMES = {
    "huggingface-hub": "huggingface_hub",
    "isal": "python-isal",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
}


def test_the_image_is_made_of_files_that_are_there() -> None:
    lines = DOCKERFILE.read_text().replace("\\\n", " ").split("\n")
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert len(copied) > 5
    for name in copied:
        assert (ROOT / name).exists(), name
    read = {name for line in lines for name in re.findall(r"[\w.]+\.(?:lock|txt|toml)", line)}
    assert read - {"torch.txt"} <= set(copied)
    assert re.search(r"^torch==[\d.]+$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_the_image_is_pinned_and_does_not_run_as_root() -> None:
    text = DOCKERFILE.read_text()
    assert re.match(r"FROM \S+/python:\d+\.\d+\.\d+-slim-\w+\n", text)
    users = re.findall(r"^USER (\d+)$", text, re.MULTILINE)
    assert users
    assert "0" not in users


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", DOCKERFILE], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout


def test_the_recipe_asks_for_what_the_package_asks_for() -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    wanted = {f"python {PROJECT['requires-python']}"}
    for text in PROJECT["dependencies"]:
        found = Requirement(text)
        wanted.add(f"{CONDA_NAMES.get(found.name, found.name)} {found.specifier}")
    assert set(recipe["requirements"]["run"]) == wanted
    assert recipe["context"]["version"] == PROJECT["version"] == version("virnucpro")
    (entry_point,) = recipe["build"]["python"]["entry_points"]
    assert dict([entry_point.split(" = ")]) == PROJECT["scripts"]
