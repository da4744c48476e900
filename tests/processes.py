"""Real processes of the command line, for tests."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = [str(ROOT / "examples" / name) for name in ("reads.fastq.gz", "contigs.fasta")]
#: Files that say when and how fast, and so differ from run to run.
TIMED_FILES = {"run.json", "summary.json", ".lock"}


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Start `virnucpro ARGUMENTS` in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "virnucpro", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )


def run(*arguments: str | Path, stdin: bytes | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `virnucpro ARGUMENTS` to its end."""
    command = [sys.executable, "-m", "virnucpro", *map(str, arguments)]
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def contents(directory: Path) -> dict[str, bytes]:
    """Return the files of a finished run that do not depend on the clock, and how it computed."""
    settings = json.loads((directory / "run.json").read_bytes())
    how = {"ways": settings["ways"], "device": settings["binding"]["device"]}
    return {key: str(value).encode() for key, value in how.items()} | {
        path.name: path.read_bytes()
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
