"""Real processes of the command line, for tests."""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = [str(ROOT / "examples" / name) for name in ("reads.fastq.gz", "contigs.fasta")]
#: Files that say when, where and how fast, and so differ from run to run.
TIMED_FILES = {"run.json", "summary.json", "config.toml", ".lock"}


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Start `virnucpro ARGUMENTS` in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "virnucpro", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )


def run(
    *arguments: str | Path, stdin: bytes | None = None, before: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run `virnucpro ARGUMENTS` to its end, in a process of its own that is forked (forks.py).

    Args:
        arguments: of the command line.
        stdin: what it reads.
        before: a program that the process runs first; it may take some of `sys.argv`.
    """
    texts = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as directory:
        streams = {name: str(Path(directory, name)) for name in ("stdin", "stdout", "stderr")}
        for name, path in streams.items():
            Path(path).write_bytes((stdin or b"") if name == "stdin" else b"")
        request = {
            "arguments": texts, "directory": str(Path.cwd()), "before": before, **streams,
            "environment": os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        }  # fmt: skip
        status = _forks().ask(request)
        out, err = (Path(streams[name]).read_bytes().decode() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(["virnucpro", *texts], status, out, err)


class _Forks:
    """The process that others are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._end)

    def ask(self, request: Mapping[str, object]) -> int:
        """Return the status of what was asked for."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


@lru_cache(maxsize=1)
def _forks() -> _Forks:
    return _Forks()


def program_on_path(directory: Path) -> dict[str, str]:
    """Return an environment in which `virnucpro` is this tree's; writes it into `directory`."""
    directory.mkdir()
    script = directory / "virnucpro"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m virnucpro "$@"\n')
    script.chmod(0o755)
    return os.environ | {"PATH": f"{directory}:{os.environ['PATH']}", "NO_COLOR": "1"}


def contents(directory: Path) -> dict[str, bytes]:
    """Return the files of a finished run that do not depend on the clock, and how it computed.

    The directory's name, by which MultiQC calls the run, becomes OUT in them.
    """
    settings = json.loads((directory / "run.json").read_bytes())
    how = {"ways": settings["ways"], "device": settings["binding"]["device"]}
    name = json.dumps(directory.name).encode()
    return {key: str(value).encode() for key, value in how.items()} | {
        path.name: path.read_bytes().replace(name, b'"OUT"')
        if path.name.endswith("_mqc.json")
        else path.read_bytes()
        for path in sorted(directory.iterdir())
        if path.is_file() and path.name not in TIMED_FILES
    }


def kill_after_shards(process: "subprocess.Popen[str]", out: Path, shards: int) -> bool:
    """Kill -9 a run once it has written so many shards; tell whether it was still running."""
    while process.poll() is None:
        written = list((out / "shards").glob("*.shard")) if (out / "shards").is_dir() else []
        if len(written) >= shards:
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.002)
    return False


def assert_same_files(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Compare the files of two runs; say which lines differ."""
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        ours, theirs = found[name].split(b"\n"), content.split(b"\n")
        lines = [
            (i + 1, a, b)
            for i, (a, b) in enumerate(zip_longest(ours, theirs, fillvalue=b"(missing)"))
            if a != b
        ]
        assert not lines, f"{name}: {len(lines)} lines differ, found and expected: {lines[:5]}"
