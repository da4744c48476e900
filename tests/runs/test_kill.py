"""Kill -9 and run again: the same bytes as an unbroken run."""

import time
from pathlib import Path

import pytest

import kills
from harness import Case, LostError
from processes import EXAMPLES, assert_same_files, contents, kill_after_shards, run, start

OPTIONS = ["--block-chunks", "16", "--legacy", "--device", "cpu"]


def finished(out: Path, *options: str) -> dict[str, bytes]:
    """Predict to the end and return the files."""
    done = run("predict", *EXAMPLES, "-o", out, *OPTIONS, *options)
    assert done.returncode == 0, done.stderr
    return contents(out)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return finished(tmp_path_factory.mktemp("unbroken") / "out")


@pytest.mark.parametrize("kind", ["two encoders", "BAM"])
def test_a_killed_run_continues_to_the_same_bytes(kind: str, tmp_path: Path) -> None:
    kills.attempt(Case(kind, b"1"), tmp_path)


def test_runs_are_the_same_when_their_files_are(unbroken: dict[str, bytes]) -> None:
    kills.compare(unbroken, unbroken)
    for damaged in ({**unbroken, "records.tsv": b""}, {**unbroken, "x": b""}, {}):
        with pytest.raises(LostError, match="differ from an undisturbed run: "):
            kills.compare(damaged, unbroken)


def test_a_run_killed_while_writing_tables_continues(
    unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start("predict", *EXAMPLES, "-o", out, *OPTIONS)
    while process.poll() is None:
        if list(out.glob("frames.tsv.*.partial")):
            process.kill()
            break
    process.communicate()
    assert_same_files(finished(out), unbroken)


def test_a_damaged_shard_is_computed_again(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("predict", *EXAMPLES, "-o", out, *OPTIONS)
    assert kill_after_shards(process, out, 8)
    process.communicate()
    flipped, cut = sorted((out / "shards").glob("*.shard"))[3:5]
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-7])
    assert_same_files(finished(out), unbroken)


def test_an_output_directory_that_is_moved_away_ends_the_run_at_once(tmp_path: Path) -> None:
    out, away = tmp_path / "out", tmp_path / "away"
    process = start("predict", *EXAMPLES * 20, "-o", out, *OPTIONS, "--quiet")
    while process.poll() is None and not list((out / "shards").glob("*.shard")):
        time.sleep(0.002)
    out.rename(away)
    moved = time.monotonic()
    _, said = process.communicate(timeout=30)
    *notes, last = said.splitlines()
    assert process.returncode == 1
    assert last == (
        f"virnucpro: error: {out}: was removed or replaced during the run; run the command again"
    )
    assert all(note.startswith("note: ") for note in notes)
    assert time.monotonic() - moved < 5  # a second, and what a busy machine adds
    assert not out.exists()
    assert not list(away.glob("*.tsv*"))


def test_a_second_process_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start("predict", *EXAMPLES, "-o", out, *OPTIONS)
    while not (out / "shards").is_dir() and first.poll() is None:
        pass
    second = run("predict", *EXAMPLES, "-o", out, *OPTIONS)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert "another process is running in it" in second.stderr
