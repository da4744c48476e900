"""A worker in a process of its own: the same bytes as one in this process, until it is killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import block_of
from virnucpro.bundles import Bundle
from virnucpro.errors import BundleError, SettingsError
from virnucpro.prediction.job import Prediction
from virnucpro.runs.devices import Budgets, device_names
from virnucpro.runs.executors.connection import (
    Connection,
    InProcessConnection,
    WorkerDiedError,
    environment_of,
)
from virnucpro.runs.executors.processes import ProcessConnection
from virnucpro.runs.task import Result
from virnucpro.sequences.blocks import Block

BLOCKS = [replace(block_of(20, 700, 300, seed), index=seed) for seed in range(4)]
BUDGETS = Budgets(1024, 1024)

MakeProcess = Callable[[Prediction], ProcessConnection]


@pytest.fixture(scope="module")
def task(tiny_bundle: Bundle) -> Prediction:
    return Prediction(str(tiny_bundle.path), tiny_bundle.sha256, 300, "open", 2048, "fp32")


@pytest.fixture
def make_process() -> Iterator[MakeProcess]:
    """Return a function that starts a worker, which is let go of at the end."""
    made = []

    def make(task: Prediction) -> ProcessConnection:
        made.append(ProcessConnection("cpu", task, threads=1))
        return made[-1]

    yield make
    for process in made:
        process.stop()


def results_of(connection: Connection, blocks: list[Block]) -> list[Result]:
    """Send all blocks before the first result is read."""
    for block in blocks:
        connection.send(block)
    return [connection.receive() for _ in blocks]


@pytest.fixture(scope="module")
def expected(task: Prediction) -> list[Result]:
    """Return the results of a worker in this process."""
    connection = InProcessConnection("cpu", task)
    connection.hello()
    connection.start(BUDGETS)
    return results_of(connection, BLOCKS)


def test_a_process_says_and_computes_what_a_worker_in_this_process_does(
    make_process: MakeProcess, task: Prediction, expected: list[Result]
) -> None:
    connection, ours = make_process(task), InProcessConnection("cpu", task)
    assert connection.hello() == ours.hello()
    assert connection.start(BUDGETS) == ours.start(BUDGETS)
    results = results_of(connection, BLOCKS)
    assert [result.block for result in results] == [0, 1, 2, 3]
    assert [result.shard for result in results] == [result.shard for result in expected]
    assert [result.work.records for result in results] == [20, 40, 60, 80]


def test_only_its_parent_ends_a_process(
    make_process: MakeProcess, task: Prediction, expected: list[Result]
) -> None:
    """Signals that a terminal or Slurm sends to all processes are answered by the parent."""
    connection = make_process(task)
    connection.hello()
    connection.start(BUDGETS)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(connection.pid, number)
    assert results_of(connection, BLOCKS[:1])[0].shard == expected[0].shard
    assert os.getsid(connection.pid) != os.getsid(0)
    started = time.monotonic()
    connection.stop()
    assert connection._process.returncode == 0
    assert time.monotonic() - started < 3
    connection.stop()


def test_a_process_that_hangs_is_killed(make_process: MakeProcess, task: Prediction) -> None:
    connection = make_process(task)
    connection.hello()
    os.kill(connection.pid, signal.SIGSTOP)
    started = time.monotonic()
    connection.stop()
    assert connection._process.returncode == -signal.SIGKILL
    assert time.monotonic() - started < 5


def test_a_process_that_is_killed_is_a_worker_that_died(
    make_process: MakeProcess, task: Prediction
) -> None:
    connection = make_process(task)
    connection.hello()
    connection.start(BUDGETS)
    os.kill(connection.pid, signal.SIGKILL)
    connection.send(BLOCKS[0])
    connection.send(BLOCKS[1])
    with pytest.raises(WorkerDiedError, match="its process was ended by SIGKILL"):
        results_of(connection, BLOCKS)


def test_a_process_that_is_killed_while_it_writes_is_a_worker_that_died(
    make_process: MakeProcess, task: Prediction
) -> None:
    connection = make_process(task)
    connection.hello()
    connection.start(BUDGETS)
    piece = replace(BLOCKS[0].pieces[0], header="r" * 2_000_000)  # more than a pipe holds
    connection.send(Block(0, [piece]))
    assert connection._pipe.poll(30)
    time.sleep(0.3)
    os.kill(connection.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        connection.receive()


def test_a_process_that_dies_before_it_says_a_word_says_how(
    make_process: MakeProcess, task: Prediction
) -> None:
    connection = make_process(task)
    os.kill(connection.pid, signal.SIGSEGV)
    with pytest.raises(WorkerDiedError, match="its process was ended by SIGSEGV"):
        connection.hello()


def test_a_process_has_the_environment_of_its_parent(
    make_process: MakeProcess, task: Prediction, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(37)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WorkerDiedError, match="its process ended with status 37"):
        make_process(task).hello()


def test_another_bundle_is_refused(make_process: MakeProcess, task: Prediction) -> None:
    with pytest.raises(BundleError, match="differs from the bundle that the run started with"):
        make_process(replace(task, bundle_sha256="0" * 64)).hello()


def test_a_block_that_cannot_be_computed_is_a_worker_that_died_with_a_reason(
    make_process: MakeProcess, task: Prediction
) -> None:
    connection = make_process(task)
    connection.hello()
    connection.start(BUDGETS)
    connection.send(replace(BLOCKS[0], pieces=[]))
    with pytest.raises(WorkerDiedError, match=r"^\w+Error: .+"):
        connection.receive()


@pytest.mark.parametrize(
    ("visible", "device", "expected"),
    [
        (None, "cuda:0", "0"),
        (None, "cuda:3", "3"),
        (None, "cuda", "0"),
        ("4,6,7", "cuda:0", "4"),
        ("4,6,7", "cuda:2", "7"),
        ("4,6,7", "cuda", "4"),
        ("GPU-8f1e,GPU-52aa", "cuda:1", "GPU-52aa"),
        ("MIG-1/3/0", "cuda:0", "MIG-1/3/0"),
    ],
)
def test_a_process_sees_its_gpu_alone(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, expected: str
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert environment_of(device) == os.environ | {"CUDA_VISIBLE_DEVICES": expected}
    assert environment_of("cpu") == os.environ


@pytest.mark.parametrize(
    ("gpus", "asked", "names"),
    [
        (0, "auto", ["cpu"]),
        (2, "auto", ["cuda:0", "cuda:1"]),
        (2, "cuda", ["cuda:0", "cuda:1"]),
        (2, "cuda:1", ["cuda:1"]),
        (3, "cuda:2,cuda:0", ["cuda:2", "cuda:0"]),
        (0, "cpu", ["cpu"]),
        (2, "cpu,cpu,cpu", ["cpu"] * 3),
        (12, "cuda:11", ["cuda:11"]),
    ],
)
def test_devices_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, gpus: int, asked: str, names: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert device_names(asked) == names


@pytest.mark.parametrize(
    ("gpus", "asked", "problem"),
    [
        (0, "cuda", "this machine has 0 CUDA devices"),
        (0, "cuda:0", "this machine has 0 CUDA devices"),
        (2, "cuda:0,cuda:2", "this machine has 2 CUDA devices"),
        (2, "cuda:0,cuda:0", "cuda:0 is given twice"),
        (2, "cuda:1,cuda", "cuda:1 is given twice"),
        (2, "", "give auto, cuda, or names"),
        (2, "cpu,", "give auto, cuda, or names"),
        (2, "auto,cpu", "give auto, cuda, or names"),
        (2, "cuda:-1", "give auto, cuda, or names"),
        (2, "mps", "give auto, cuda, or names"),
    ],
)
def test_devices_that_are_not_here_are_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: int, asked: str, problem: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(SettingsError, match=f"^--device {asked}: .*{problem}"):
        device_names(asked)
