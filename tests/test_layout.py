"""The tree keeps its promises: imports point one way, files stay short, nothing foreign."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "virnucpro"
#: A module imports from its own place or one further left (docs/design.md).
ORDER = (
    "importing",
    "errors",
    "threads",
    "forking",
    "storage",
    "directories",
    "caches",
    "terminal",
    "sequences",
    "encoders",
    "bundles",
    "reference",
    "classify",
    "engine",
    "results",
    "training",
    "evaluation",
    "inputs",
    "sheet",
    "jobs",
    "execution",
    "reporting",
    "planning",
    "api",
    "samples",
    "embedding",
    "fitting",
    "calibration",
    "verification",
    "bench",
    "citation",
    "doctor",
    "telemetry",
    "cli",
    "__main__",
)
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
SOURCES = [
    p
    for folder in ("src", "tests", "benchmarks", "examples")
    for p in (ROOT / folder).rglob("*.py")
]


def imported_places(path: Path) -> set[str]:
    """Return the folders or modules of the package that a file imports from."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    parts = [name.split(".") for name in names]
    return {p[1] for p in parts if p[0] == "virnucpro" and len(p) > 1}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    place = ORDER.index(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    too_far = {name for name in imported_places(path) if ORDER.index(name) > place}
    assert not too_far


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320


@pytest.mark.parametrize("folder", ["sequences"])
def test_what_needs_no_torch_does_not_import_it(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        assert "import torch" not in path.read_text()
