"""On a machine where nothing but the output and `VIRNUCPRO_HOME` can be written, commands work."""

from pathlib import Path

import pytest

from processes import run

#: Makes all of the machine read-only for the process, but for the directory in `sys.argv[-1]`.
#: Ends with status 77 where that is not allowed.
READ_ONLY = """
import ctypes, os, sys, tempfile

libc, place = ctypes.CDLL(None, use_errno=True), sys.argv.pop().encode()
NEW_MOUNTS, BIND, READ_ONLY, REMOUNT, PRIVATE, ALL_BELOW = 0x20000, 4096, 1, 32, 1 << 18, 16384

def mount(source, target, flags):
    return libc.mount(source, target, None, flags, None) == 0

is_allowed = (
    libc.unshare(NEW_MOUNTS) == 0
    and mount(None, b"/", ALL_BELOW | PRIVATE)
    and mount(place, place, BIND)
)
if not is_allowed:
    os._exit(77)
with open("/proc/self/mountinfo", "rb") as file:
    targets = [line.split()[4] for line in file]
for target in targets:
    if target != place and not target.startswith((b"/proc", b"/sys", b"/dev/pts")):
        mount(None, target, BIND | REMOUNT | READ_ONLY)
for elsewhere in ("/", "/tmp", os.path.expanduser("~")):
    if os.access(elsewhere, os.W_OK):
        os._exit(77)
os.chdir(place)  # the way to it leads through what is mounted now
tempfile.tempdir = None
"""
HEADER = "record\tlength\tp_virus\tcall\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with reads, a table of scores, and labels."""
    place = tmp_path / "place"
    place.mkdir()
    for name in ("MPLCONFIGDIR", "TMPDIR", "HF_HOME", "TRITON_CACHE_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIRNUCPRO_HOME", str(place / "home"))
    (place / "reads.fa").write_text(">r\n" + "ATGGCTGCA" * 40 + "\n")
    rows = (f"r{i}\t300\t{i / 40}\t{'virus' if i > 20 else 'other'}\n" for i in range(40))
    (place / "scores.tsv").write_text(HEADER + "".join(rows))
    labels = (f"r{i}\t{int(i % 7 > 2)}\n" for i in range(40))
    (place / "labels.tsv").write_text("record\tis_virus\n" + "".join(labels))
    return place


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "reads.fa", "-o", "out", "--device", "cpu", "--report"],
        ["evaluate", "scores.tsv", "labels.tsv", "-o", "out", "--bootstrap", "10"],
        ["doctor"],
    ],
    ids=lambda command: str(command[0]),
)
@pytest.mark.parametrize("is_known", [True, False], ids=["home", "no home"])
def test_a_read_only_machine(
    files: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], *, is_known: bool
) -> None:
    if not is_known:
        monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.chdir(files)
    done = run(*command, "--quiet", files, before=READ_ONLY, report=True)
    if done.returncode == 77:
        pytest.skip("this machine does not let tests mount")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    if command[0] != "doctor":
        assert (files / "out").is_dir()
