"""Which inputs are those of a run: by what is in them, and not by how their paths are spelled."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import virnucpro
from virnucpro.bundles import Bundle
from virnucpro.errors import RunError
from virnucpro.runs import binding as bindings
from virnucpro.runs.binding import bind, differences
from virnucpro.runs.job import Silence

READS = ">a\n" + "ACGGTCA" * 9 + "\n>b\n" + "TTGACCA" * 9 + "\n"
#: Of the same length, with the same beginning.
OTHERS = READS[:-8] + "GGGGGGG\n"


class Finished(Silence):
    """Notes that a run was finished already."""

    def __init__(self) -> None:
        self.times = 0

    def already_finished(self) -> None:
        self.times += 1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory, in which a digest covers the first 16 bytes of a file."""
    monkeypatch.setattr(bindings, "_HEAD_BYTES", 16)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def is_finished(here: Path, tiny_bundle: Bundle) -> Callable[..., bool]:
    """Return a function that predicts into `out` and tells whether it was done already."""

    def predict(*inputs: str | Path) -> bool:
        finished, bundle = Finished(), tiny_bundle.path
        virnucpro.predict(
            inputs, here / "out", bundle=bundle, device="cpu", report=False, observer=finished
        )
        return finished.times == 1

    return predict


def test_a_path_may_be_spelled_in_any_way(
    here: Path, is_finished: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Path("in.fa")
    reads.write_text(READS)
    assert not is_finished(reads)
    (here / "link.fa").symlink_to("in.fa")
    before = (here / "out" / "run.json").read_bytes()
    for spelled in ("in.fa", "./in.fa", here / "in.fa", "link.fa"):
        assert is_finished(spelled)
    (here / "elsewhere").mkdir()
    reads.rename("elsewhere/moved.fa")
    assert is_finished("elsewhere/moved.fa")
    monkeypatch.chdir("elsewhere")
    assert is_finished("moved.fa")
    assert (here / "out" / "run.json").read_bytes() == before


@pytest.mark.usefixtures("here")
def test_other_records_are_another_run(is_finished: Callable[..., bool]) -> None:
    for name, content in (("in.fa", READS), ("others.fa", OTHERS)):
        Path(name).write_text(content)
        os.utime(name, (1, 1))  # long before the run
    is_finished("in.fa", "others.fa")
    with pytest.raises(
        RunError, match=r"this run is finished, but its input has changed since; give"
    ):
        is_finished("others.fa", "in.fa")
    with pytest.raises(RunError, match=r"input was in.fa others.fa, is in.fa\)"):
        is_finished("in.fa")
    Path("in.fa").write_text(OTHERS)
    with pytest.raises(
        RunError, match=r"this run is finished, but its input has changed since; give"
    ):
        is_finished("in.fa", "others.fa")
    Path("in.fa").write_text(f">{READS}")
    with pytest.raises(RunError, match=r"input in.fa has changed since"):
        is_finished("in.fa", "others.fa")


@pytest.mark.usefixtures("here")
def test_streams_are_known_by_their_names() -> None:
    os.mkfifo("pipe")
    Path("in.fa").write_text(READS)
    bound = [
        bind("predict", sources, {}, bundle="", bundle_sha256="", precision="", device="")
        for sources in (["-"], ["./-"], ["pipe"], ["in.fa", "-"], ["./in.fa", "-"])
    ]
    assert differences(bound[0], bound[2]) == ["input was -, is pipe"]
    assert not differences(bound[3], bound[4])
    assert not bindings.may_be_others(bound[3].inputs, bound[4].inputs, "2001-01-01T00:00:00Z")


def test_an_encoder_may_be_spelled_in_any_way(tiny_bundle: Bundle, here: Path) -> None:
    Path("in.fa").write_text(READS)
    (here / "link").symlink_to(tiny_bundle.path)
    finished = Finished()
    for model in (f"{tiny_bundle.path}:dna", "./link:dna"):
        virnucpro.embed("in.fa", here / "out", model=model, device="cpu", observer=finished)
    assert finished.times == 1
    with pytest.raises(RunError, match=r"\(letters was dna, is protein;"):
        virnucpro.embed("in.fa", here / "out", model="./link:protein", device="cpu")
