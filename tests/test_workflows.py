"""Workflows call what exists, with pinned actions and only the rights that they need."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from processes import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


def commands(path: Path) -> str:
    return json.dumps(
        [[s.get("run"), j.get("strategy")] for j in jobs(path).values() for s in j["steps"]]
    )


def test_there_are_workflows() -> None:
    assert {path.name for path in WORKFLOWS} == {"ci.yml", "nightly.yml", "release.yml"}


@each
def test_actions_are_pinned_by_commit_and_version(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text())
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@each
def test_only_publishing_has_more_than_the_right_to_read(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    for name, job in jobs(path).items():
        rights = {"id-token": "write"} if name == "publish" else None
        assert job.get("permissions") == rights
        assert job["timeout-minutes"] <= 60


@each
def test_no_value_of_github_is_pasted_into_a_command(path: Path) -> None:
    assert "${{" not in json.dumps([s.get("run") for j in jobs(path).values() for s in j["steps"]])


@each
def test_make_has_what_the_workflow_makes(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = set(re.findall(r'make ([a-z][\w-]*)"', commands(path)))
    for job in jobs(path).values():
        made |= set(job.get("strategy", {}).get("matrix", {}).get("target", []))
    assert made <= targets
    assert made or path.name == "release.yml"


def test_tests_run_on_the_lowest_python_and_the_newer_ones() -> None:
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    tested = jobs(GITHUB / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]["python"]
    assert lowest == f">={tested[0]}"
    assert tested == ["3.11", "3.12", "3.13", "3.14"]


def test_forms_have_fields_with_labels() -> None:
    forms = [p for p in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml"]
    for form in forms:
        content = yaml.safe_load(form.read_text())
        assert content["name"]
        assert content["description"]
        fields = [field for field in content["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)
    assert len(forms) == 2


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not on the PATH")
def test_actionlint_finds_nothing() -> None:
    done = subprocess.run(["actionlint", *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
