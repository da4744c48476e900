"""The tree keeps its promises: imports point one way, commands are apart, names are unique."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "virnucpro"
#: A module imports from its own folder or one further up (docs/design.md).
ORDER = ("errors", "files", "system", "sequences", "runs", "encoders", "bundles", "classify")
#: They stand on all of these, and none imports another.
COMMANDS = (
    "prediction",
    "embedding",
    "training",
    "evaluation",
    "calibration",
    "verification",
    "bench",
    "doctor",
)
#: They may import everything.
LAST = ("cli", "__main__")
#: Names that several folders use for the same thing.
SHARED_NAMES = {"__init__", "api", "job", "worker", "shard"}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Return the full names that a file imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def imported_folders(path: Path) -> set[str]:
    """Return the folders and top-level modules of the package that a file imports from."""
    parts = [name.split(".") for name in imported(path)]
    return {p[1] for p in parts if p[0] == "virnucpro" and len(p) > 1}


def allowed(folder: str) -> set[str]:
    """Return what a folder may import."""
    if folder in ORDER:
        return set(ORDER[: ORDER.index(folder) + 1])
    if folder in COMMANDS:
        return {*ORDER, folder}
    return {*ORDER, *COMMANDS, *LAST}


def test_every_folder_has_its_place() -> None:
    assert {folder_of(path) for path in MODULES} == {*ORDER, *COMMANDS, *LAST}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    assert imported_folders(path) <= allowed(folder_of(path))


def test_no_files_import_each_other() -> None:
    names = {
        ".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): p
        for p in MODULES
    }

    def module_of(name: str) -> str:
        return name if name in names else name.rpartition(".")[0]

    graph = {name: {module_of(n) for n in imported(path)} - {name} for name, path in names.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError and names the cycle


def test_no_two_files_have_the_same_name() -> None:
    names = Counter(p.stem for p in MODULES)
    assert {n for n, count in names.items() if count > 1} <= SHARED_NAMES


def test_sequences_do_without_torch() -> None:
    for path in (PACKAGE / "sequences").rglob("*.py"):
        assert "import torch" not in path.read_text()
