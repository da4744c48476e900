"""Every command in the documentation runs, or is parsed if a test cannot run it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pages import PAGES, arguments_in, bash_commands, blocks_of, console_commands, prose_of
from processes import ROOT, run
from virnucpro.cli.app import app

RUN = [
    page
    for page in PAGES
    if page.name != "README.md" and any(kind in ("bash", "python") for kind, _ in blocks_of(page))
]
PARSED = [
    pytest.param(command, id=f"{page.stem}: {command[:60]}")
    for page in PAGES
    for kind, text in blocks_of(page)
    if kind == "console"
    for command in console_commands(text)
]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_commands_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.setenv("VIRNUCPRO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.chdir(tmp_path)
    said = ""
    for kind, text in blocks_of(page):
        if kind == "bash":
            said = "".join(_answer(command) for command in bash_commands(text))
        elif kind == "python":
            done = run("--version", before=text)
            assert done.returncode == 0, done.stderr
            said = "".join(done.stdout.splitlines(keepends=True)[:-1])
        elif kind == "text" and said:
            assert _differences(said, text) == []
            said = ""
        else:
            said = ""


def _answer(command: str) -> str:
    """Run a line and return its standard output."""
    if command.startswith("virnucpro "):
        (arguments,) = arguments_in(command)
        done = run(*arguments)
    else:
        done = subprocess.run(
            ["bash", "-euc", command],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _differences(said: str, shown: str) -> list[tuple[str, str]]:
    """Return words that differ; fractions may differ by what machines round differently."""
    pairs = zip_longest(said.split(), shown.split(), fillvalue="(missing)")
    return [(a, b) for a, b in pairs if a != b and not _are_close(a, b)]


def _are_close(a: str, b: str) -> bool:
    """Return whether two fractions agree in two digits.

    Further digits differ between CPUs (docs/speed.md). Counts and calls do not.
    """
    if not all(re.fullmatch(r"\d+\.\d+,?", word) for word in (a, b)):
        return False
    return float(a.strip(",")) == pytest.approx(float(b.strip(",")), rel=0.02, abs=0.02)


@pytest.mark.parametrize(
    ("said", "shown", "differ"),
    [
        ("a 0.531475 virus", "a  0.52 virus", 0),
        ("0.531475 virus", "0.531475 other", 1),
        ("0.53", "0.56", 1),
        ("99 calls", "100 calls", 1),
        ("99", "99.0", 1),
        ("102.106,", "101.2,", 0),
    ],
)
def test_pages_promise_calls_counts_and_two_digits(said: str, shown: str, differ: int) -> None:
    assert len(_differences(said, shown)) == differ


@pytest.mark.parametrize("command", PARSED)
def test_commands_for_other_places_are_parsed(command: str) -> None:
    for arguments in arguments_in(command):
        if arguments:
            _parse(arguments)


def _parse(arguments: Sequence[str]) -> None:
    """Parse as the program does, without running anything.

    Raises:
        click.UsageError: an option is unknown, or an argument is missing.
    """
    command, rest = get_command(app), list(arguments)
    context = command.make_context("virnucpro", list(rest))
    while isinstance(command, TyperGroup):
        name, found, rest = command.resolve_command(context, rest)
        assert isinstance(found, TyperCommand | TyperGroup)
        command, context = found, found.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize(
    "arguments",
    [["predict", "a.fa"], ["predict", "a.fa", "-o", "b", "--such"], ["models", "such"], ["such"]],
)
def test_wrong_commands_are_not_parsed(arguments: list[str]) -> None:
    with pytest.raises(Exception, match=r"Missing|No such"):
        _parse(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_escapes(page: Path) -> None:
    """Commands are in `bash` or `console` blocks only, each in a line of its own."""
    command = re.compile(r"^\s*(\$ )?virnucpro [a-z]", re.MULTILINE)
    for kind, text in blocks_of(page):
        assert kind in ("bash", "console") or not command.search(text), text
        if kind == "console":
            assert text.startswith("$ "), text
    assert not re.search(r"^(    |\t)\s*(\$ )?virnucpro [a-z]", prose_of(page), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_sentences_exist(page: Path) -> None:
    for said in re.findall(r"`virnucpro ([^`]+)`", prose_of(page)):
        command, words = get_command(app), said.split()
        while isinstance(command, TyperGroup) and re.match("[a-z]", " ".join(words)):
            assert words[0] in command.commands, said
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in option.opts} | {"--help", "-h"}
        asked_for = {word.split("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert asked_for <= known, said
