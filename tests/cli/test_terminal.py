"""What a terminal gets: completion in a real bash, escape codes or none, suggestions."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from processes import EXAMPLES, ROOT, run
from virnucpro.cli.app import app

MODULE = [sys.executable, "-m", "virnucpro"]


def on_terminal(arguments: list[str], directory: Path, **environment: str) -> bytes:
    """Return what a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*MODULE, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
    )  # fmt: skip
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:  # Linux says so that the other end is closed
            break
        if not read:
            break
        written += read
    os.close(ours)
    process.wait()
    return bytes(written)


@pytest.fixture
def read(tmp_path: Path) -> Path:
    path = tmp_path / "read.fasta"
    path.write_text(">read\n" + "ATGGCTGCA" * 40 + "\n")
    return path


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"]
)
@pytest.mark.parametrize("arguments", [["predict", "-h"], ["predct"]])
def test_who_wants_no_colours_gets_no_escape_codes(
    arguments: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    plain = on_terminal(arguments, tmp_path, **environment)
    assert b"Usage" in plain
    assert b"\x1b" not in plain


def test_a_terminal_gets_colours_and_a_pipe_does_not(tmp_path: Path) -> None:
    assert b"\x1b[" in on_terminal(["-h"], tmp_path, NO_COLOR="")
    piped = subprocess.run([*MODULE, "-h"], capture_output=True, check=True)
    assert b"Usage" in piped.stdout
    assert b"\x1b" not in piped.stdout


def test_a_run_draws_nothing_again_without_colours(read: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = on_terminal(["predict", str(read), "-o", str(out)], tmp_path, NO_COLOR="1")
    assert b"1 records" in said
    assert b"\x1b" not in said
    assert (out / "methods.txt").read_bytes().strip() in said


def test_quiet_says_nothing_where_nothing_is_wrong(read: Path, tmp_path: Path) -> None:
    done = run("predict", read, "-o", tmp_path / "out", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("predict", EXAMPLES[0], "-o", tmp_path / "out", "-q")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["predct"], "Did you mean 'predict'"), (["predict", "--devce", "cpu"], "--device")],
)
def test_what_is_misspelt_gets_a_suggestion(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    program = tmp_path / "virnucpro"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m virnucpro "$@"\n')
    program.chmod(0o755)
    added = tmp_path / "home" / "my-bundle"
    added.mkdir(parents=True)
    for name in ("bundle.json", "head.safetensors"):
        (added / name).touch()
    asked = {
        "pre": "predict",
        "predict --prec": "--precision",
        "predict --precision int": "int8 int4",
        "predict --bundle ": "compact compact-pair my-bundle",
        "models path my": "my-bundle",
    }
    lines = ['source <("$1" --show-completion)']
    for text in asked:
        words = ["virnucpro", *text.split(" ")]
        lines += [
            f"COMP_WORDS=({' '.join(word or repr('') for word in words)})",
            f"COMP_CWORD={len(words) - 1}", '_virnucpro_completion "$1"', 'echo "${COMPREPLY[*]}"',
        ]  # fmt: skip
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines), "bash", "virnucpro"],
        capture_output=True, check=False, text=True, cwd=ROOT,
        env=os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "VIRNUCPRO_HOME": str(tmp_path / "home"),
        },
    )  # fmt: skip
    assert done.stdout.splitlines() == list(asked.values()), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["schema", "\x1b[31m"], ["\u202e"], ["schema", "tables", "\x1b[31m"], ["cite", "--\u202e"]],
)
def test_wrong_usage_quotes_nothing_that_a_terminal_obeys(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1"})
    assert done.exit_code == 2
    assert not [c for c in done.output if c != "\n" and not c.isprintable()]
