"""What a run keeps from its first attempt."""

import errno
import fcntl
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TextIO

import msgspec
import pytest

from virnucpro.errors import RunError
from virnucpro.runs.binding import Binding, bind
from virnucpro.runs.devices import Budgets
from virnucpro.runs.run import open_run


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
        run.keep_backends(["encoders: fast"])
    with open_run(tmp_path / "out", binding, Budgets(1, 1)) as run:
        run.keep_backends(["encoders: fast"])
        with pytest.raises(RunError, match=r"with encoders: fast, .* with encoders: plain;") as e:
            run.keep_backends(["encoders: plain"])
        assert "\n" not in str(e.value)
        assert run.manifest.backends == ["encoders: fast"]
        (run.shards / "backends.json").write_bytes(b"")  # as a file system may after a power cut
        with pytest.raises(
            RunError, match=r"backends.json: cannot be read .*; give a new directory"
        ):
            run.keep_backends(["encoders: fast"])


# Directories that are not ours


def looks(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what can be seen of every file of a directory that something was done to it."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


FOREIGN = {
    "a lock": {".lock": "pid 42"},
    "an empty lock": {".lock": ""},
    "files": {".lock": "", "thesis.tex": "years of work", "shards": "mine"},
    "a partial file": {"run.json.partial": "of a browser"},
    "another run.json": {"run.json": '{"status": "unfinished"}', ".lock": "pid 42"},
    "no JSON": {"run.json": "", ".lock": "pid 42", "records.tsv": "mine"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_directory_of_another_program_is_left_as_it_is(
    tmp_path: Path, binding: Binding, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for file, content in FOREIGN[name].items():
        (out / file).write_text(content)
    before, status = looks(out), out.stat()
    with (
        pytest.raises(RunError, match=r"give a new directory$") as error,
        open_run(out, binding, Budgets(1, 1)),
    ):
        pass
    assert "\n" not in str(error.value)
    assert looks(out) == before
    assert out.stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.parametrize("name", [".lock", "run.json", "shards"])
def test_a_link_inside_a_run_is_not_followed(tmp_path: Path, binding: Binding, name: str) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    with open_run(out, binding, Budgets(1, 1)) as run:
        run.keep_backends(["made"])
    shutil.copytree(out, elsewhere)
    if name == "shards":
        shutil.rmtree(out / name)
    else:
        (out / name).unlink()
    (out / name).symlink_to(elsewhere / name)
    before = looks(elsewhere)
    with (
        pytest.raises(RunError, match=rf"{name}: is (not a file|a link)"),
        open_run(out, binding, Budgets(1, 1)) as run,
    ):
        run.keep_backends(["made"])
    assert looks(elsewhere) == before


def test_an_output_directory_may_be_a_link(tmp_path: Path, binding: Binding) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "out").symlink_to(scratch)
    with open_run(tmp_path / "out", binding, Budgets(1, 1)) as run:
        run.watch.check()
        run.save()
    assert sorted(path.name for path in scratch.iterdir()) == [".lock", "run.json"]


def test_of_two_that_start_at_once_one_has_the_directory(tmp_path: Path, binding: Binding) -> None:
    other = msgspec.structs.replace(binding, precision="fp32")

    def attempt(binding: Binding) -> str:
        gate.wait(10)
        try:
            with open_run(out, binding, Budgets(1, 1)) as run:
                done.wait(10)
                return run.manifest.binding.precision
        except RunError as error:
            done.wait(10)
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            out, gate, done = tmp_path / str(number), Barrier(2), Barrier(2)
            given = [binding, other if number % 2 else binding]
            first, second = sorted(pool.map(attempt, given), key=len)
            assert first in ("fp16", "fp32")
            said = "holds another run" if number % 2 else "another process is running in it"
            assert said in second
            assert first in (out / "run.json").read_text()
            assert sorted(path.name for path in out.iterdir()) == [".lock", "run.json"]


def killed(out: Path, binding: Binding, moment: str, *, after: bool) -> int:
    """Start a run in a process that is gone before or after it does a thing; return its status."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    module = fcntl if moment == "flock" else os
    do = getattr(module, moment)

    def die(*arguments: object) -> None:
        if after:
            do(*arguments)
        os._exit(7)

    setattr(module, moment, die)
    with open_run(out, binding, Budgets(1, 1)):
        os._exit(1)


@pytest.mark.parametrize("moment", ["mkdir", "open", "fsync", "link", "unlink", "flock"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_start_that_is_killed_at_any_moment_is_continued(
    tmp_path: Path, binding: Binding, moment: str, *, after: bool
) -> None:
    out = tmp_path / "out"
    assert killed(out, binding, moment, after=after) == 7
    with open_run(out, binding, Budgets(1, 1)) as run:
        assert not run.is_finished
    assert sorted(path.name for path in out.iterdir()) == [".lock", "run.json"]
