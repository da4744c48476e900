"""Real processes of the command line, for tests."""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = [str(ROOT / "examples" / name) for name in ("reads.fastq.gz", "contigs.fasta")]
#: Files that say when, where and how fast, and so differ from run to run.
TIMED_FILES = {"run.json", "summary.json", "report.html", "config.toml", ".lock"}


class Forked:
    """A process of the command line that was forked (forks.py), used as one of `subprocess`.

    Attributes:
        pid: of the process.
        returncode: None while it runs; the signal that ended it, negative.
    """

    def __init__(self, arguments: Iterable[str], before: str, stdin: bytes = b"") -> None:
        self._args = ["virnucpro", *arguments]
        self._folder = tempfile.TemporaryDirectory()
        names = ("stdin", "stdout", "stderr", "status")
        self._files = {name: Path(self._folder.name, name) for name in names}
        for path in list(self._files.values())[:-1]:
            path.write_bytes(stdin if path.name == "stdin" else b"")
        os.mkfifo(self._files["status"])
        self._status = os.open(self._files["status"], os.O_RDONLY | os.O_NONBLOCK)
        request = {
            "arguments": self._args[1:], "directory": str(Path.cwd()), "before": before,
            "environment": os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
            **{name: str(path) for name, path in self._files.items()},
        }  # fmt: skip
        self.returncode: int | None = None
        self._said = "", ""
        self.pid = _forks().ask(request)

    def poll(self) -> int | None:
        """Return the status if it has ended."""
        return self._end(0)

    def errors(self) -> str:
        """Return what it has written to its errors so far."""
        path = self._files["stderr"]
        return path.read_text() if path.exists() else self._said[1]

    def wait(self, timeout: float | None = None) -> int:
        """Return the status when it has ended."""
        if self._end(timeout) is None:
            raise subprocess.TimeoutExpired(self._args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return what it wrote to its output and errors."""
        self.wait(timeout)
        return self._said

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def _end(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(os.read(self._status, 16))
            os.close(self._status)
            out, err = (self._files[name].read_bytes().decode() for name in ("stdout", "stderr"))
            self._said = out, err
            self._folder.cleanup()
        return self.returncode


def start(*arguments: str | Path, before: str = "") -> Forked:
    """Start `virnucpro ARGUMENTS` in a process of its own; `predict` draws no report.

    Args:
        arguments: of the command line.
        before: a program that the process runs first; it may take some of `sys.argv`.
    """
    return Forked(_texts(arguments), before)


def run_ranks(*arguments: str | Path) -> None:
    """Run two ranks with the variables that torchrun gives them to their end, which is good."""
    ranks = []
    for rank in "01":
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        with pytest.MonkeyPatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            ranks.append(start(*arguments, "--executor", "launched"))
    for process in ranks:
        _, said = process.communicate()
        assert process.returncode == 0, said


def run(
    *arguments: str | Path, stdin: bytes | None = None, before: str = "", report: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run `virnucpro ARGUMENTS` to its end in a process of its own.

    Args:
        arguments: of the command line.
        stdin: what it reads.
        before: a program that the process runs first; it may take some of `sys.argv`.
        report: whether `predict` draws its report, if the arguments do not say it.
    """
    texts = _texts(arguments, report=report)
    process = Forked(texts, before, stdin or b"")
    out, err = process.communicate()
    return subprocess.CompletedProcess(["virnucpro", *texts], process.wait(), out, err)


def _texts(arguments: Iterable[str | Path], *, report: bool = False) -> list[str]:
    """Return arguments as text; drawing a report would take longer than most runs of tests."""
    texts = [str(argument) for argument in arguments]
    return texts if report or "predict" not in texts[:1] else [*texts, "--no-report"]


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
        """Return the id of the process that was asked for."""
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


def kill_after_shards(process: Forked, out: Path, shards: int) -> bool:
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


def gone_in_time(is_gone: Callable[[], bool], seconds: float = 8) -> bool:
    """Wait for something to end."""
    deadline = time.monotonic() + seconds
    while not is_gone() and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_gone()
