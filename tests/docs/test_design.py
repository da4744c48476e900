"""docs/design.md and CONTRIBUTING.md name files and functions that exist, in the right order."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from processes import ROOT

PACKAGE = ROOT / "src" / "virnucpro"
DESIGN, CONTRIBUTING = ROOT / "docs" / "design.md", ROOT / "CONTRIBUTING.md"
#: A file and the names in it: `runs/run.py`: `open_run`, `Run`.
NAMED = re.compile(r"`([\w./]+\.py)`:\s+((?:`[\w.]+`(?:,\s+)?)+)")


def named_in(text: str) -> list[tuple[str, str]]:
    """Return every file and name of a text that belong together."""
    found = NAMED.findall(text)
    return [(file, name) for file, names in found for name in re.findall(r"`([^`]+)`", names)]


def path_of(file: str) -> Path:
    """Return a file of the repository, or of the package."""
    return ROOT / file if (ROOT / file).exists() else PACKAGE / file


@cache
def names_of(path: Path) -> set[str]:
    """Return the functions, classes, methods and constants that a file defines."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        if isinstance(node, ast.ClassDef):
            defined = [each for each in node.body if isinstance(each, ast.FunctionDef)]
            found |= {f"{node.name}.{each.name}" for each in defined}
    return found


@pytest.mark.parametrize("page", [DESIGN, CONTRIBUTING], ids=lambda page: page.stem)
def test_files_and_names_exist(page: Path) -> None:
    files = set(re.findall(r"`([\w./]+/[\w./]*|[\w./]+\.py)`", page.read_text()))
    assert [file for file in files if not path_of(file).exists()] == []
    named = named_in(page.read_text())
    assert len(named) > 10
    assert [pair for pair in named if pair[1] not in names_of(path_of(pair[0]))] == []


def test_the_walk_is_numbered_and_names_each_function_once() -> None:
    walk = DESIGN.read_text().split("## The walk of a record")[1].split("\n## ")[0]
    steps = re.findall(r"^(\d+)\. ", walk, re.MULTILINE)
    assert steps == [str(number + 1) for number in range(len(steps))]
    named = named_in(walk)
    assert len(named) > 20
    assert len(set(named)) == len(named)


def test_folders_are_in_the_order_of_imports() -> None:
    layout = ast.parse((ROOT / "tests" / "test_layout.py").read_text())
    lists = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in layout.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("ORDER", "COMMANDS")
    }
    rows = re.findall(r"^\| (`[^|]+) \|", DESIGN.read_text().split("## Folders")[1], re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`([a-z]+)(?:/|\.py)`", row)]
    assert listed == [*lists["ORDER"], *lists["COMMANDS"], "cli"]
