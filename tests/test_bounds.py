"""The lowest versions that are tested are those that pyproject.toml admits."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
#: Is tested with another version; CONTRIBUTING.md says why.
OTHERWISE = {"torch"}


def test_what_is_tested_as_lowest_is_what_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *(each for extra in extras for each in extra)]
    lines = (ROOT / "requirements-lowest.txt").read_text().splitlines()
    lowest = [line.replace("==", ">=", 1) for line in lines if not line.startswith("#")]
    different = set(map(str, map(Requirement, declared))) ^ set(map(str, map(Requirement, lowest)))
    assert {Requirement(text).name for text in different} == OTHERWISE
