"""What a run keeps from its first attempt."""

import errno
import fcntl
from pathlib import Path
from typing import TextIO

import pytest

from virnucpro.engine.binding import Binding, bind
from virnucpro.engine.devices import Budgets
from virnucpro.engine.run import open_run
from virnucpro.errors import RunError


@pytest.fixture
def binding(tmp_path: Path) -> Binding:
    reads = tmp_path / "reads.fa"
    reads.write_text(">r\nACGT\n")
    settings: dict[str, int | str | bool] = {"chunk_length": 300, "legacy": False}
    return bind(
        "predict", [str(reads)], settings,
        bundle="b 1", bundle_sha256="0" * 64, precision="fp16", device="GPU",
    )  # fmt: skip


def test_a_rerun_keeps_the_budgets_of_the_first_attempt(tmp_path: Path, binding: Binding) -> None:
    with open_run(tmp_path / "out", binding, Budgets(100, 200)):
        pass
    with open_run(tmp_path / "out", binding, Budgets(7, 8)) as run:
        assert run.manifest.budgets == Budgets(100, 200)


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, binding: Binding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lustre is where it was mounted without them."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(RunError, match=r"\.lock: cannot be locked \(Function not implemented\);"),
        open_run(tmp_path / "out", binding, Budgets(1, 1)),
    ):
        pass


def test_processes_share_a_run_where_a_shared_lock_takes_a_file_that_can_be_read(
    tmp_path: Path, binding: Binding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, which makes locks of bytes of these."""
    lock = fcntl.flock

    def as_on_nfs(file: TextIO, kind: int) -> None:
        if kind & fcntl.LOCK_SH and not file.readable():
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    with (
        open_run(tmp_path / "out", binding, Budgets(1, 1), is_shared=True),
        open_run(tmp_path / "out", binding, Budgets(1, 1), is_shared=True) as run,
    ):
        assert not run.is_finished


def test_a_rerun_in_another_way_is_refused(tmp_path: Path, binding: Binding) -> None:
    with open_run(tmp_path / "out", binding, Budgets(1, 1)) as run:
        run.keep_ways(["encoders: fast"])
    with open_run(tmp_path / "out", binding, Budgets(1, 1)) as run:
        run.keep_ways(["encoders: fast"])
        with pytest.raises(RunError, match=r"with encoders: fast, .* with encoders: plain;") as e:
            run.keep_ways(["encoders: plain"])
        assert "\n" not in str(e.value)
        assert run.manifest.ways == ["encoders: fast"]
        (run.shards / "ways.json").write_bytes(b"")  # as a file system may after a power cut
        with pytest.raises(RunError, match=r"ways.json: cannot be read .*; give a new directory"):
            run.keep_ways(["encoders: fast"])
