"""The standard library comes first, the working directory not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from poison import POISONS, imported, poisoned
from processes import ROOT
from virnucpro.system.importing import safe_path

LIBRARY = str(Path(os.__file__).parent)
OWN = [f"/usr/python{sys.version_info[0]}{sys.version_info[1]}.zip", LIBRARY]
OWN.append(f"{LIBRARY}/lib-dynload")


@pytest.mark.parametrize(
    ("before", "named", "expected"),
    [
        ([], "", []),
        (["/named", "/deeper"], "/named:/deeper", ["/named", "/deeper"]),
        (["{here}"], "", []),
        ([""], "", []),
        (["/scripts"], "", ["/scripts"]),
        (["{here}", "/named"], ":/named", ["/named"]),
        (["{here}", "{here}"], ".", ["{here}", "{here}"]),
        (["{here}"], "{here}/", ["{here}"]),
    ],
)
def test_where_modules_come_from(
    before: list[str],
    named: str,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", named.format(here=tmp_path))
    before, expected = ([e.format(here=tmp_path) for e in names] for names in (before, expected))
    monkeypatch.setattr(sys, "path", [*before, *OWN, "/site-packages"])
    assert safe_path() == [*OWN, *expected, "/site-packages"]
    monkeypatch.setattr(sys, "path", safe_path())
    assert safe_path() == sys.path


def test_a_working_directory_that_holds_the_program_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(ROOT / "src")
    monkeypatch.chdir(source)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [source, *OWN])
    assert safe_path() == [*OWN, source]


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "path", ["", "/named", *OWN])
    assert safe_path() == [*OWN, "/named"]


def test_the_command_imports_nothing_of_the_users(tmp_path: Path) -> None:
    here, named = (poisoned(tmp_path / name, *POISONS[:-1]) for name in ("here", "named"))
    done = subprocess.run(
        [sys.executable, "-m", "virnucpro", "--version"],
        cwd=here, env=os.environ | {"PYTHONPATH": str(named)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert imported(here, named) == []
