"""Every command in README.md runs unchanged."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from processes import ROOT, run

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.strip().split("\n")
]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(clone: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "virnucpro"
    done = run(*arguments, report=True)
    assert done.returncode == 0, done.stderr
    if arguments[0] in ("predict", "embed"):
        place = "*/*" if "--samples" in arguments else "*"
        assert list(clone.glob(f"{place}/summary.json"))
    else:
        assert "share of floor" in " ".join(done.stdout.split())


@pytest.mark.parametrize("program", PROGRAMS)
def test_python(clone: Path, program: str) -> None:
    done = run("--version", before=program)
    assert done.returncode == 0, done.stderr
    assert "virus" in done.stdout
    assert list(clone.glob("*/summary.json"))


def test_make_demo(tmp_path: Path) -> None:
    assert "make demo" in README
    clone = tmp_path / "clone"
    for name in ("Makefile", "examples", "requirements.lock", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, _made(clone) / name)
    _pretend_set_up(clone)
    done = subprocess.run(["make", "demo"], cwd=clone, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ of \d+ called records are right", done.stdout)


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


def _pretend_set_up(clone: Path) -> None:
    """Use this environment instead of the one that `make` would install."""
    binaries = clone / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, options in (("python", ""), ("virnucpro", "-m virnucpro")):
        script = binaries / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        script.chmod(0o755)
    stamp = clone / ".venv" / ".runtime"
    stamp.touch()
    os.utime(stamp, (4_000_000_000, 4_000_000_000))
