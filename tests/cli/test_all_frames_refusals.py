"""What a bundle that reads all frames with one network cannot do, and what others cannot."""

from pathlib import Path

import pytest

from processes import EXAMPLES, ROOT, run

CPU = ["--device", "cpu"]
PROTEINS = str(ROOT / "examples" / "proteins.fasta")
#: Commands without their output, and what each is told.
REFUSED: dict[str, tuple[list[str], str]] = {
    "open frames": (
        ["predict", EXAMPLES[0], "--frames", "open"],
        "--frames open: compact was made for all frames; leave it out",
    ),
    "segments": (
        ["predict", EXAMPLES[0], "--bundle", "compact", "--frames", "segments"],
        "--frames segments: compact was made for all frames; leave it out",
    ),
    "all frames of two encoders": (
        ["predict", EXAMPLES[0], "--bundle", "compact-pair", "--frames", "all"],
        "--frames all: compact-pair was made for open frames; leave it out",
    ),
    "no such frames": (
        ["predict", EXAMPLES[0], "--frames", "half"],
        "--frames half: give open, segments, whole, all",
    ),
    "its proteins": (
        ["embed", PROTEINS, "--model", "compact:protein"],
        "compact: reads all frames with one network and has no protein encoder; give another model",
    ),
    "its DNA": (
        ["embed", EXAMPLES[0], "--model", "compact:dna"],
        "compact: reads all frames with one network and has no dna encoder; give another model",
    ),
    "coding sequences": (
        ["train", EXAMPLES[0], "--coding-only"],
        "--coding-only: compact reads all frames as one; give --encoders compact-pair",
    ),
    "frames to learn from": (
        ["train", EXAMPLES[0], "--frames", "whole"],
        "--frames whole: compact was made for all frames; leave it out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    command, told = REFUSED[name]
    done = run(*command, "-o", tmp_path / "out", *CPU)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"virnucpro: error: {told}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_two_encoders_are_measured_or_none() -> None:
    done = run("bench", "--sizes", "compact", *CPU)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        "virnucpro: error: compact: has one network where two encoders are measured; "
        "give --sizes compact-pair"
    )


def test_what_it_does_anyway_may_be_asked_for(tmp_path: Path) -> None:
    done = run("predict", EXAMPLES[0], "-o", tmp_path / "out", "--frames", "all", *CPU, "-q")
    assert done.returncode == 0, done.stderr
