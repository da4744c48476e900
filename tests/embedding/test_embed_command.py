"""`virnucpro embed` as users run it: real processes, real files."""

import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import virnucpro
from processes import assert_same_files, contents, run, run_ranks, start
from virnucpro.embedding.formats.any_format import FORMATS

if TYPE_CHECKING:
    from virnucpro.encoders.pooling import Pooling

#: A block of these is of 2^15 letters, so that there are several.
TOKENS = ["--pooling", "tokens"]
CPU = ["--device", "cpu"]


def vectors(out: Path) -> tuple[list[str], list[NDArray[np.floating[Any]]]]:
    ids, values = zip(*virnucpro.read_embeddings(out), strict=True)
    return list(ids), list(values)


def assert_same_values(found: Path, expected: Path) -> None:
    (ids, values), (expected_ids, expected_values) = vectors(found), vectors(expected)
    assert ids == expected_ids
    for ours, theirs in zip(values, expected_values, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_every_record_is_in_the_file_and_a_finished_run_returns_at_once(
    unbroken: tuple[Path, dict[str, bytes]], proteins: Path, protein: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["embed", str(proteins), "-o", str(out), "--model", protein, *TOKENS, *CPU]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert_same_files(contents(out), unbroken[1])
    announced, _, rest = done.stderr.partition("all records done")
    assert "1,200 of 1,200 records embedded, 16 numbers per vector" in rest
    for name in ("embeddings.parquet", "summary.json", "run.json"):
        assert name in announced
    lines = proteins.read_text().splitlines()
    ids, values = vectors(out)
    assert ids == [line[1:].split()[0] for line in lines[::2]]
    assert [len(rows) for rows in values] == [len(line) for line in lines[1::2]]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["records"] == summary["embedded"] == 1200
    assert summary["vectors"] == summary["letters"] == sum(map(len, lines[1::2]))
    again = run(*command)
    assert again.returncode == 0
    assert "already finished" in again.stderr
    assert_same_files(contents(out), unbroken[1])
    assert not (out / "shards").exists()


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_holds_the_same_numbers(
    unbroken: tuple[Path, dict[str, bytes]],
    finished: Path,
    proteins: Path,
    protein: str,
    tmp_path: Path,
    format_: str,
) -> None:
    expected: dict[Pooling, Path] = {"tokens": unbroken[0], "mean": finished}
    for pooling, same in expected.items():
        out = tmp_path / pooling
        virnucpro.embed(
            proteins, out, model=protein, pooling=pooling, file_format=format_, device="cpu"
        )  # fmt: skip
        assert sorted(path.name for path in out.glob("emb*")) == [FORMATS[format_]]
        assert_same_values(out, same)
        found = virnucpro.read_embeddings(out)
        assert (found.format, found.width, found.is_ragged) == (format_, 16, pooling == "tokens")
        metadata = {"model": protein, "letters": "protein", "layer": "2", "pooling": pooling}
        assert metadata.items() <= found.metadata.items()


def test_half_precision_in_another_format_is_the_same_rounded(
    finished: Path, proteins: Path, protein: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--model", protein, *CPU, "--format", "hdf5", "--dtype", "fp16"]
    done = run("embed", proteins, "-o", out, *options)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.glob("[!.]*")} == {
        "embeddings.h5", "summary.json", "run.json", "config.toml",
    }  # fmt: skip
    (ids, halves), (expected_ids, singles) = vectors(out), vectors(finished)
    assert ids == expected_ids
    for half, single in zip(halves, singles, strict=True):
        assert half.dtype == np.float16
        assert np.array_equal(half, single.astype(np.float16))


def test_two_workers_give_the_same_bytes(
    unbroken: tuple[Path, dict[str, bytes]], proteins: Path, protein: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("embed", proteins, "-o", out, "--model", protein, *TOKENS, "--device", "cpu,cpu")
    assert done.returncode == 0, done.stderr
    assert_same_files(contents(out), unbroken[1])


def test_launched_ranks_give_the_same_bytes(
    unbroken: tuple[Path, dict[str, bytes]], proteins: Path, protein: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_ranks("embed", proteins, "-o", out, "--model", protein, *TOKENS, *CPU)
    assert_same_files(contents(out), unbroken[1])


@contextmanager
def fed(pipe: Path, content: bytes, *, slowly: bool) -> Iterator[None]:
    """Write into a named pipe; `slowly` spreads the last third over seconds."""

    def feed() -> None:
        with suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
            middle = len(content) * 2 // 3 if slowly else len(content)
            file.write(content[:middle])
            for at in range(middle, len(content), 4096):
                time.sleep(0.14)
                file.write(content[at : at + 4096])

    thread = threading.Thread(target=feed)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)]
)
def test_a_run_that_is_ended_midway_continues_to_the_same_bytes(
    unbroken: tuple[Path, dict[str, bytes]],
    proteins: Path,
    protein: str,
    tmp_path: Path,
    number: signal.Signals,
    status: int,
) -> None:
    pipe, out, content = tmp_path / "pipe", tmp_path / "out", proteins.read_bytes()
    os.mkfifo(pipe)
    command = ["embed", str(pipe), "-o", str(out), "--model", protein, *TOKENS, *CPU]
    with fed(pipe, content, slowly=True):
        process = start(*command)
        while len(list(out.glob("shards/*.shard"))) < 2:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == status
    if number == signal.SIGTERM:
        assert "stopped; rerun the same command to resume" in said
    assert not list(out.glob("embeddings.*"))
    with fed(pipe, content, slowly=False):
        done = run(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "summary.json").read_text())["resumed_records"] > 0
    assert_same_files(contents(out), unbroken[1])


def test_standard_input_and_gzip_give_the_same_bytes(
    finished: Path, proteins: Path, protein: str, tmp_path: Path
) -> None:
    packed = tmp_path / "packed"  # recognised by its content
    packed.write_bytes(gzip.compress(proteins.read_bytes()))
    virnucpro.embed(packed, tmp_path / "zipped", model=protein, device="cpu")
    options = ["--model", protein, *CPU, "-q"]
    done = run("embed", "-", "-o", tmp_path / "piped", *options, stdin=packed.read_bytes())
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    for out in ("piped", "zipped"):
        assert_same_files(contents(tmp_path / out), contents(finished))
