"""Pairs and BAM that `predict` refuses, or has something to say of."""

from pathlib import Path

import pytest

import virnucpro
from processes import run
from read_files import Fastq, in_turn, paired_lines, write_bam, write_fastq
from virnucpro.errors import InputError, SettingsError, VirnucproError
from virnucpro.sequences.inputs import checked_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with pairs in two files, in one and as BAM."""
    folder = tmp_path_factory.mktemp("pairs")
    first, second = (
        [Fastq(f"f{i} {mate}:N:0:ACGT", "ACGTA" * 20, "I" * 100) for i in range(3)]
        for mate in (1, 2)
    )
    write_fastq(folder / "a_1.fq", first)
    write_fastq(folder / "a_2.fq", second)
    write_fastq(folder / "i.fq", in_turn(first, second))
    write_bam(folder / "a.bam", paired_lines(first, second))
    return folder


def refused(kind: type[VirnucproError], inputs: object, out: Path, **options: object) -> str:
    """Return the one line that `predict` fails with before it writes anything."""
    with pytest.raises(kind) as caught:
        virnucpro.predict(inputs, out, device="cpu", **options)  # type: ignore[arg-type]
    assert not out.exists()
    return str(caught.value)


def test_what_cannot_be_asked_for(folder: Path, tmp_path: Path) -> None:
    out, fasta = tmp_path / "out", tmp_path / "a.fa"
    fasta.write_text(">a\nACGT\n")
    path = folder / "a.bam"
    assert "give virus, other, unscored" in refused(SettingsError, path, out, write=["all"])
    assert "--reads sam: give fasta or fastq" in refused(SettingsError, path, out, reads="sam")
    assert "has no qualities" in refused(InputError, [path, fasta], out, reads="fastq")
    assert "takes one BAM file, or" in refused(SettingsError, [path, fasta], out, bam=True)
    assert "reads the input twice, which - does not" in refused(SettingsError, "-", out, bam=True)
    mates = [(folder / "a_2.fq", folder / "a_1.fq")]
    assert "its mate should be" in refused(InputError, [], out, mates=mates)
    assert refused(InputError, [], out).startswith("no input: give at least one")
    mates = [(folder / "a_1.fq", folder / "a_1.fq")]
    assert "a_1.fq: is given as mates 1 and 2;" in refused(InputError, [], out, mates=mates)
    twice = [("-", "-")]
    assert "only once" in refused(InputError, [], out, mates=twice)


@pytest.mark.parametrize("arguments", [["-1", "a.fq"], ["-2", "a.fq", "b.fq"], []])
def test_mates_without_their_other_file_are_wrong_usage(arguments: list[str]) -> None:
    done = run("predict", *arguments, "-o", "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_what_looks_like_pairs_is_said(folder: Path) -> None:
    first, second, both = (str(folder / name) for name in ("a_1.fq", "a_2.fq", "i.fq"))
    found = checked_inputs([first, second, both, folder / "a.bam"], "dna", [(first, second)])
    assert found.mate_notes() == [
        f"{both} looks like interleaved pairs: --interleaved gives one call per pair",
        f"{first} and {second} look like mates: -1 and -2 give one call per pair",
    ]
    assert found.repeat_notes() == [
        f"{name} is given 2 times: its records are counted 2 times" for name in (first, second)
    ]
