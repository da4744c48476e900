"""Every executor, any number of workers: the same bytes, whatever dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from processes import EXAMPLES, Forked, assert_same_files, contents, run, start

OPTIONS = ["--block-chunks", "16", "--legacy"]
TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node=2", "--module"),
]


def finished(out: Path, device: str, *options: str) -> dict[str, bytes]:
    """Predict to the end and return the files."""
    done = run("predict", *EXAMPLES, "-o", out, *OPTIONS, "--device", device, *options)
    assert done.returncode == 0, done.stderr
    return contents(out)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return finished(tmp_path_factory.mktemp("unbroken") / "out", "cpu")


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start a Ray cluster of two CPUs, to which the usual environment leads."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).with_name("ray"))
    folder = tmp_path_factory.mktemp("ray")
    options = ["--head", "--block", "--num-cpus=2", "--include-dashboard=false"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with (folder / "log").open("wb") as log:
        cluster = subprocess.Popen(
            [ray, "start", *options, f"--port={port}", "--node-ip-address=127.0.0.1"],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
        try:
            _wait_for(port, cluster, folder / "log")
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
                patched.setenv("RAY_AUTH_MODE", "disabled")
                yield
        finally:
            family = [*psutil.Process(cluster.pid).children(recursive=True), cluster]
            for process in family:
                process.kill()
            cluster.wait()


def _wait_for(port: int, cluster: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        assert cluster.poll() is None, log.read_text()
        if "Ray runtime started" in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"no cluster at port {port}: {log.read_text()}")


def test_local_workers(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    assert_same_files(finished(tmp_path / "out", "cpu,cpu,cpu"), unbroken)


def test_local_workers_with_two_encoders(tmp_path: Path) -> None:
    pair = ("--bundle", "compact-pair")
    expected = finished(tmp_path / "one", "cpu", *pair)
    assert_same_files(finished(tmp_path / "two", "cpu,cpu", *pair), expected)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("is_killed", [False, True])
def test_ray(
    unbroken: dict[str, bytes],
    tmp_path: Path,
    is_killed: bool,  # noqa: FBT001
) -> None:
    out = tmp_path / "out"
    options = [*OPTIONS, "--executor", "ray", "--device", "cpu,cpu"]
    process = start("predict", *EXAMPLES, "-o", out, *options)
    if is_killed:
        _wait_for_shards(out, process, 3)
        _kill_one(lambda p: p.name().startswith("ray::_Worker") or "ray::_Work" in _command(p))
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert_same_files(contents(out), unbroken)
    assert ("died" in said) == is_killed


def test_ray_without_a_cluster_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    done = run("predict", *EXAMPLES, "-o", tmp_path / "out", "--executor", "ray")
    assert done.returncode == 1
    assert "--executor ray: no cluster" in done.stderr.splitlines()[-1]


@pytest.mark.usefixtures("ray_cluster")
def test_more_ray_workers_than_the_cluster_has_are_refused(tmp_path: Path) -> None:
    options = ["--executor", "ray", "--device", "cpu,cpu,cpu"]
    done = run("predict", *EXAMPLES, "-o", tmp_path / "out", *options)
    assert done.returncode == 1
    assert "the Ray cluster has 0 GPUs and 2 CPUs" in done.stderr


def torchrun(out: Path) -> "subprocess.Popen[str]":
    """Start two ranks."""
    command = ["virnucpro", "predict", *EXAMPLES, "-o", str(out), *OPTIONS, "--no-report"]
    return subprocess.Popen(
        [*TORCHRUN, *command, "--executor", "launched", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_torchrun(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    process = torchrun(tmp_path / "out")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert_same_files(contents(tmp_path / "out"), unbroken)


def test_torchrun_with_a_rank_killed_continues(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = torchrun(out)
    _wait_for_shards(out, first, 5)
    _kill_one(lambda p: "--executor" in _command(p) and "distributed" not in _command(p))
    first.communicate()
    assert first.returncode != 0
    again = torchrun(out)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert_same_files(contents(out), unbroken)


def test_a_rank_that_dies_leaves_its_blocks_to_the_others(
    unbroken: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under srun, which lets the others go on."""
    out = tmp_path / "out"
    ranks = []
    for rank in ("0", "1"):
        for name in ("SLURM_PROCID", "SLURM_LOCALID"):
            monkeypatch.setenv(name, rank)
        options = [*OPTIONS, "--executor", "launched", "--device", "cpu"]
        ranks.append(start("predict", *EXAMPLES, "-o", out, *options))
    _wait_for_shards(out, ranks[0], 3)
    ranks[0].kill()
    ranks[0].communicate()
    for claim in (out / "shards").glob("*.claim"):  # a minute passes
        past = time.time() - 3600
        if (out / "shards" / claim.name.replace("claim", "shard")).exists():
            continue
        os.utime(claim, (past, past))
    _, said = ranks[1].communicate()
    assert ranks[1].returncode == 0, said
    assert_same_files(contents(out), unbroken)


def test_a_launched_run_and_a_local_one_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    out = tmp_path / "out"
    launched = start(
        "predict", *EXAMPLES, "-o", out, *OPTIONS, "--executor", "launched", "--device", "cpu"
    )
    _wait_for_shards(out, launched, 1)
    launched.send_signal(signal.SIGSTOP)  # or it ends before the other one has begun
    local = run("predict", *EXAMPLES, "-o", out, *OPTIONS, "--device", "cpu")
    launched.send_signal(signal.SIGKILL)
    launched.communicate()
    assert local.returncode == 1
    assert "another process is running in it" in local.stderr


def _wait_for_shards(out: Path, process: "Forked | subprocess.Popen[str]", count: int) -> None:
    while len(list(out.glob("shards/*.shard"))) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def _kill_one(is_meant: Callable[[psutil.Process], bool]) -> None:
    """Kill -9 the first process that is meant."""
    meant = [p for p in psutil.Process().children(recursive=True) if is_meant(p)]
    meant[0].kill()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
