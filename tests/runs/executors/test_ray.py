"""Workers on a Ray cluster: the same bytes as elsewhere; every wait is said and ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from poison import POISONS, imported, poisoned
from processes import EXAMPLES, Forked, assert_same_files, contents, run, start
from virnucpro.bundles import Bundle
from virnucpro.errors import SettingsError
from virnucpro.prediction.job import Prediction
from virnucpro.runs.executors import ray_cluster as ours

pytest.importorskip("ray")
OPTIONS = ["--block-chunks", "16", "--executor", "ray", "--device", "cpu,cpu"]
#: A program of another user of the cluster: takes its two CPUs.
HOG = """
import ray, sys
ray.init(log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=2)
class Hog:
    def hold(self): return "held"
hog = Hog.remote()
print(ray.get(hog.hold.remote()), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a Ray cluster of two CPUs; what it writes is gone with it."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # a socket's path must be short
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
        *("--num-cpus=2", "--include-dashboard=false", "--node-ip-address=127.0.0.1"),
        *(f"--port={port}", f"--temp-dir={folder}"),
    ]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait_for(process, folder / "log")
        yield f"127.0.0.1:{port}"
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for slot in family:
            slot.kill()
        process.wait()
        shutil.rmtree(folder)


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        if "Ray runtime started" in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"no cluster: {log.read_text()}")


@pytest.fixture
def joined(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the usual environment lead to the cluster."""
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    done = run("predict", *EXAMPLES, "-o", out, *OPTIONS[:2], "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return contents(out)


@pytest.mark.usefixtures("joined")
def test_ray_gives_the_same_bytes_though_a_worker_dies_and_imports_nothing_of_the_users(
    unbroken: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, here = tmp_path / "out", poisoned(tmp_path / "here", *POISONS)
    monkeypatch.chdir(here)
    process = start("predict", *EXAMPLES, "-o", out, *OPTIONS)
    _wait_for_shards(out, process, 3)
    _kill_a_worker()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert_same_files(contents(out), unbroken)
    assert "died" in said
    assert imported(here) == []


@pytest.mark.usefixtures("joined")
def test_more_ray_workers_than_the_cluster_has_are_refused(tmp_path: Path) -> None:
    options = ["--executor", "ray", "--device", "cpu,cpu,cpu"]
    done = run("predict", *EXAMPLES, "-o", tmp_path / "out", *options)
    assert done.returncode == 1
    assert "the Ray cluster has 0 GPUs and 2 CPUs" in done.stderr


@pytest.mark.usefixtures("joined")
def test_a_busy_cluster_is_said_and_can_be_left_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOG],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as hog:  # fmt: skip
        assert hog.stdout is not None
        assert hog.stdout.readline() == "held\n"
        patience = "import virnucpro.runs.waiting as w; w._FIRST = 2.0"
        waiting = start("predict", *EXAMPLES, "-o", tmp_path / "out", *OPTIONS, before=patience)
        while "0 of its 2 are free" not in waiting.errors():
            assert waiting.poll() is None, waiting.communicate()[1]
            time.sleep(0.05)
        stopped = time.monotonic()
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(30) == 130
        assert time.monotonic() - stopped < 2.5
        hog.communicate("")


@pytest.fixture
def task(tiny_bundle: Bundle) -> Prediction:
    return Prediction(str(tiny_bundle.path), tiny_bundle.sha256, 300, "open", 2048, "fp32")


def refusal(task: Prediction) -> str:
    """Return why a cluster cannot be joined."""
    with pytest.raises(SettingsError) as refused:
        ours.endpoints("cpu", task, lambda _: None)
    return str(refused.value)


def test_an_address_that_nobody_has_any_more_is_said_with_its_file(
    task: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray leaves the file behind when a cluster is killed, and tries for minutes."""
    address = f"127.0.0.1:{free_port()}"
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text(address + "\n")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    said = refusal(task)
    assert f"no cluster at {address}, which {file} names" in said
    assert f"Connection refused); remove {file} or set RAY_ADDRESS" in said
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert refusal(task).endswith(
        "which RAY_ADDRESS names ([Errno 111] Connection refused); see RAY_ADDRESS"
    )


def test_whoever_listens_and_is_no_cluster_is_said(
    task: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "_ANSWER_SECONDS", 2.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        assert "no cluster at 127.0.0.1" in refusal(task)


@pytest.mark.usefixtures("joined")
def test_a_token_that_is_missing_is_said(
    task: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    said = refusal(task)
    assert "no authentication token was found" in said
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in said


def _wait_for_shards(out: Path, process: Forked, count: int) -> None:
    while len(list(out.glob("shards/*.shard"))) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def _kill_a_worker() -> None:
    """Kill -9 the process of an actor."""
    for process in psutil.Process().children(recursive=True):
        try:
            if "ray::_Work" in " ".join(process.cmdline()):
                process.kill()
                return
        except psutil.NoSuchProcess:
            continue
    raise AssertionError("no worker")
