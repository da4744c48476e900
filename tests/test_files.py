"""Files appear whole, under their own name and nowhere else; errors say which file it is about."""

import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pysam
import pytest

from made_embeddings import METADATA, shape_of
from virnucpro.embedding.formats.any_format import FORMATS, Part, write_embeddings
from virnucpro.errors import RunError, SettingsError
from virnucpro.files import remove_partial, write_once, write_whole
from virnucpro.prediction.outputs.reads_bam import BamWriter, TaggedReads
from virnucpro.prediction.outputs.tables import append_rows
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.sequences.fragments import PLAIN
from virnucpro.system.directories import Lock, Watch, checked_out, own_directory

ROWS = pl.DataFrame({"record": ["a", "b"] * 4000, "p": np.linspace(0, 1, 8000)})


def write_rows(path: Path) -> None:
    with PartialFiles() as files:
        file = files.open(path)
        for _ in range(10):
            append_rows(file, ROWS)


def write_vectors(path: Path) -> None:
    format_ = next(name for name, file in FORMATS.items() if file == path.name)
    values = np.random.default_rng(1).random((20_000, 4), np.float32)
    ones = np.ones(len(values), np.int64)
    parts = [Part([f"r{i}" for i in range(len(values))], ones, ones, values)]
    shape = shape_of(parts, 4, "<f4", is_ragged=False)
    write_embeddings(path, format_, shape, METADATA, parts)


def write_bam(path: Path) -> None:
    """Copy lines that are no reads of their own, which follow a file's last read."""
    given = path.with_name("given.bam")
    with PartialFiles() as files:
        writer = BamWriter(files.open(path), TaggedReads((str(given),), PLAIN, "made 1"))
        files.at_end(writer.abandon)
        writer.finish()


@pytest.fixture(autouse=True)
def given_bam(tmp_path: Path) -> Path:
    header = pysam.AlignmentHeader.from_text("@HD\tVN:1.6\n")
    letters = np.random.default_rng(1).choice(list("ACGT"), (500, 400))
    path = tmp_path / "given.bam"
    with pysam.AlignmentFile(str(path), "wb", header=header) as file:
        for row in letters:
            line = pysam.AlignedSegment(header)
            line.query_name, line.flag, line.query_sequence = "r", 0x104, "".join(row)
            file.write(line)
    return path


WRITERS: dict[str, Callable[[Path], None]] = {
    "run.json": lambda path: write_whole(path, bytes(1 << 20)),
    "config.toml": lambda path: write_once(path, bytes(1 << 20)),
    "records.tsv": write_rows,
    "records.tsv.gz": write_rows,
    "reads.bam": write_bam,
    **dict.fromkeys(FORMATS.values(), write_vectors),
}
every_file = pytest.mark.parametrize("name", WRITERS)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to write more bytes into a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@every_file
def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(
    tmp_path: Path, given_bam: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / name
    path = tmp_path / name
    with files_of_at_most(1 << 14), pytest.raises(OSError, match="File too large") as error:
        WRITERS[name](path)
    assert (error.value.filename, error.value.strerror) == (str(path), "File too large")
    assert list(tmp_path.iterdir()) == [given_bam]
    assert capfd.readouterr() == ("", "")
    WRITERS[name](path)
    assert sorted(tmp_path.iterdir()) == sorted([path, given_bam])


@every_file
def test_a_link_is_replaced_and_where_it_leads_stays_as_it_is(tmp_path: Path, name: str) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / name
    elsewhere.write_text("of somebody")
    if name != "config.toml":  # which is left alone where it is
        path.symlink_to(elsewhere)
    WRITERS[name](path)
    assert not path.is_symlink()
    assert elsewhere.read_text() == "of somebody"


@every_file
def test_new_files_follow_the_umask(tmp_path: Path, name: str) -> None:
    before = os.umask(0o027)
    try:
        WRITERS[name](tmp_path / name)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_directories_inside_an_output_directory_are_no_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    own_directory(tmp_path / "own")
    own_directory(tmp_path / "own")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(RunError, match=f"{name}: is a link or a file, but a directory"):
            own_directory(tmp_path / name)


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = ["run.json", "mine.partial", "run.json.partial", "a.0123ABCD.partial", "0123abcd.part"]
    for name in [*kept, "run.json.0123abcd.partial", "records.tsv.gz.89abcdef.partial"]:
        (tmp_path / name).touch()
    remove_partial(tmp_path)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {*kept, "given.bam"}


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "fifo", "content"])
def test_a_lock_that_is_not_ours_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    elsewhere, lock = tmp_path / "elsewhere", tmp_path / "out" / ".lock"
    lock.parent.mkdir()
    if kind == "directory":
        lock.mkdir()
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "content":
        lock.write_text("pid 42")
    else:
        lock.symlink_to(elsewhere)
        if kind == "link":
            elsewhere.write_text("pid 42")
    with pytest.raises(RunError, match=r"\.lock: (is not a file|belongs to another program);"):
        Lock(lock.parent)
    assert elsewhere.exists() == (kind == "link")
    if kind in ("link", "content"):
        assert lock.read_text() == "pid 42"


def test_a_directory_that_is_removed_or_replaced_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virnucpro.system.directories._LOOK_EVERY", 0.0)
    out = tmp_path / "out"
    out.mkdir()
    watch = Watch(out)
    (out / "file").touch()
    watch.check()
    out.rename(tmp_path / "away")
    for _ in range(2):  # it is gone, then another one is there
        with pytest.raises(RunError, match="out: was removed or replaced during the run;"):
            watch.check()
        out.mkdir(exist_ok=True)
    out.rmdir()
    (tmp_path / "away").rename(out)
    watch.check()


@pytest.mark.parametrize("out", ["", "-", "a\0b"])
def test_what_is_no_place_for_output_is_refused(out: str) -> None:
    with pytest.raises(SettingsError, match=r"^-o ") as error:
        checked_out(out)
    assert "\n" not in str(error.value)
