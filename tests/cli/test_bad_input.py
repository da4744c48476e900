"""Bad input: one line that names file, record and line, the documented status, no traceback."""

import gzip
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from processes import EXAMPLES, contents, run
from virnucpro import load_bundle
from virnucpro.classify.classifier import FrameClassifier
from virnucpro.training.export import export_bundle
from virnucpro.training.hyperparameters import ALL_FRAMES, sized

GOOD = ">good\n" + "ATGGCTGCTAAAGGTGAAGCTGTTCTGAAACTG" * 6 + "\n"


def failed(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the one line of a failure."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("virnucpro: error: ")
    return lines[0]


FASTQ = "@r1\nACGT\n+\nIIII\n@r2\nACGTA\n+\nIIII\n"
REFUSED = {
    "text": (b"hello world\n", "is not FASTA, FASTQ or BAM (line 1"),
    "rubbish": (bytes(range(128, 256)) * 20, "is not FASTA, FASTQ or BAM"),
    "protein": (b">sp|P04637\nMEEPQSDPSVEPPLSQETFSDLWKLLPENNVLS\n", "record 1 (sp|P04637), line 2"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_nucleotide_file_is_refused_and_leaves_nothing(
    tmp_path: Path, name: str
) -> None:
    content, told = REFUSED[name]
    path, out = tmp_path / name, tmp_path / "out"
    path.write_bytes(content)
    line = failed(run("predict", path, "-o", out, "-q"))
    assert str(path) in line
    assert told in line
    assert not out.exists()


def truncated_gzip() -> bytes:
    letters = random.Random(1).choices("ACGT", k=400_000)
    reads = (f"@r{i}\n{''.join(letters[i : i + 150])}\n+\n{'I' * 150}\n" for i in range(3000))
    packed = gzip.compress("".join(reads).encode())
    return packed[: len(packed) // 2]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (FASTQ.encode(), "record 2, line 8"),
        (FASTQ[:24].encode(), "record 2"),
        (truncated_gzip(), "the compressed data ends early, after record "),
    ],
    ids=["unequal quality", "cut FASTQ", "truncated gz"],
)
def test_a_file_damaged_further_on_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "reads"
    path.write_bytes(content)
    line = failed(run("predict", path, "-o", tmp_path / "out", "-q"))
    assert str(path) in line
    assert told in line


def test_records_that_cannot_be_processed_are_listed_and_the_rest_is_done(tmp_path: Path) -> None:
    path, out = tmp_path / "mixed.fa", tmp_path / "out"
    path.write_text(GOOD + ">none\n>odd one\nACGT\nACEFG\n" + GOOD)
    done = run("predict", path, "-o", out, "-q")
    assert done.returncode == 3
    assert f"{path}: record 2 (none), line 3: has no bases" in done.stderr
    assert f"{path}: record 3 (odd), line 4: letters that are not nucleotides ('EF')" in done.stderr
    rows = [line.split("\t") for line in (out / "records.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["good", "none", "odd", "good"]
    assert [row[5] == "unscored" for row in rows] == [False, True, True, False]


def test_ids_with_spaces_tabs_and_other_letters(tmp_path: Path) -> None:
    path, out = tmp_path / "ids.fa", tmp_path / "out"
    sequence = GOOD.split("\n")[1]
    headers = ["a b", "c\td", "é→ü", 'quote"d', "a b", ""]
    path.write_text("".join(f">{h}\n{sequence}\n" for h in headers))
    done = run("predict", path, "-o", out, "-q", "--legacy")
    assert done.returncode == 0, done.stderr
    rows = (out / "records.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == ["a", "c", "é→ü", 'quote"d', "a", "unnamed"]
    assert len({row.split("\t", 1)[1] for row in rows}) == 1
    assert all(len(row.split("\t")) == 16 for row in rows)


def test_every_mate_that_cannot_be_processed_is_counted_and_none_draws_on_the_terminal(
    tmp_path: Path,
) -> None:
    """Also where its pair is called by the other mate."""
    bases = "ATGGCTGCTAAAGGTGAAGCTGTTCTGAAACTG" * 3
    for mate, letters in ((1, bases), (2, "")):
        reads = (f"@r{i}\x1b[31m\n{letters}\n+\n{'I' * len(letters)}\n" for i in range(12))
        (tmp_path / f"{mate}.fq").write_text("".join(reads))
    files = ("-1", tmp_path / "1.fq", "-2", tmp_path / "2.fq")
    done = run("predict", *files, "-o", tmp_path / "out", "-q")
    assert done.returncode == 3
    *listed, more = done.stderr.splitlines()
    assert len(listed) == 10
    assert listed[1].endswith("2.fq: record 2 (r1\\x1b[31m), line 5: has no bases")
    assert more == f"virnucpro: 2 more not processed; see {tmp_path}/out/summary.json"


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("import sys; sys.stdin = None", "standard input: is closed; give a file, or a pipe"),
        (
            "import os, tempfile; gone = tempfile.mkdtemp(); os.chdir(gone); os.rmdir(gone)",
            "the current directory no longer exists",
        ),
        ("def fails(*_, **__): raise MemoryError", "out of memory; free or request more memory"),
        ("def fails(*_, **__): raise OSError('two\\nlines')", "error: two\\nlines; fix this"),
    ],
    ids=["closed input", "no directory", "no memory", "a library's lines"],
)
def test_what_the_system_does_not_give_is_one_line(tmp_path: Path, before: str, told: str) -> None:
    before += "\nimport virnucpro.prediction.api as api"
    before += "\napi.predict = globals().get('fails', api.predict)"
    assert told in failed(run("predict", "-", "-o", tmp_path / "out", "-q", before=before))


def test_an_output_directory_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    assert "cannot be written" in failed(run("predict", EXAMPLES[0], "-o", blocked / "out", "-q"))
    assert "cannot be written" in failed(run("predict", EXAMPLES[0], "-o", "/proc/out", "-q"))

    assert "cannot be written" in failed(run("predict", EXAMPLES[0], "-o", "x" * 5000, "-q"))
    line = failed(run("predict", EXAMPLES[0], "-o", blocked, "-q"))
    assert f"{blocked}: cannot be written (File exists); give another directory" in line


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (["predict", EXAMPLES[0]], "-"),
        (["embed", EXAMPLES[0], "--model", "compact-pair:protein"], ""),
        (["train", "data"], "-"),
        (["evaluate", "run", "labels.tsv"], ""),
        (["calibrate", "run", "labels.tsv"], "-"),
        (["report", "run"], ""),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_output_goes_into_a_directory_with_a_name(command: list[str], out: str) -> None:
    line = failed(run(*command, "-o", out))
    assert (
        line == f"virnucpro: error: -o {out!r}: is not a path; give a directory, results are files"
    )


def test_an_output_directory_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    line = failed(run("predict", EXAMPLES[0], "-o", tmp_path, "-q"))
    assert "thesis.tex" in line
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("bundle", "told"),
    [("nonesuch", "no bundle 'nonesuch'"), ("virnucpro-500", "needs the published weights")],
)
def test_unknown_bundles(tmp_path: Path, bundle: str, told: str) -> None:
    out = tmp_path / "out"
    assert told in failed(run("predict", EXAMPLES[0], "-o", out, "--bundle", bundle))
    assert not out.exists()


def test_a_damaged_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(load_bundle("compact").path, bundle)
    weights = bundle / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    line = failed(run("predict", EXAMPLES[0], "-o", tmp_path / "out", "--bundle", bundle))
    assert str(weights) in line
    assert "damaged" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["predict", "x.fa"],
        ["predict", "x.fa", "-o", "out", "--chunk-length", "many"],
        ["nonesuch"],
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--device", "tpu", "--device tpu"),
        ("--device", "cpu,tpu", "--device cpu,tpu"),
        ("--executor", "slurm", "--executor slurm: give local, ray, launched"),
        (
            "--executor",
            "launched",
            "RANK and LOCAL_RANK are not set; start the command with torchrun",
        ),
        ("--device", "cuda:99", "--device cuda:99"),
        ("--precision", "fp7", "--precision fp7"),
        ("--frames", "half", "--frames half: give open, segments, whole, all"),
        ("--frames", "open", "--frames open: compact was made for all frames; leave it out"),
        ("--chunk-length", "2", "--chunk-length 2"),
        ("--chunk-length", "1000001", "1000001: give 3 bases, one codon, to 1,000,000"),
        ("--block-chunks", "0", "--block-chunks 0"),
        ("--block-chunks", "1" + "0" * 20, "0: give 1 to 1,000,000"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, option: str, value: str, told: str) -> None:
    line = failed(run("predict", EXAMPLES[0], "-o", tmp_path / "out", option, value))
    assert told in line
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def minute_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that reads six frames with next to no arithmetic."""
    torch.manual_seed(1)
    classifier = FrameClassifier(sized(1, 32, 1, 32)).eval()
    directory = tmp_path_factory.mktemp("bundles") / "minute"
    export_bundle(
        classifier, None, directory, name="minute", version="1", chunk_lengths=(500,),
        frames=ALL_FRAMES, provenance={"weights": "random"}, metrics={},
    )  # fmt: skip
    return directory


def peak_memory(path: Path, out: Path, bundle: Path) -> int:
    """Predict in a child process and return its peak resident memory in MiB."""
    code = (
        "import resource, sys, virnucpro; path, out, bundle = sys.argv[1:];"
        "summary = virnucpro.predict(path, out, bundle=bundle, device='cpu', report=False);"
        "print(summary.chunks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(out), str(bundle)],
        capture_output=True,
        check=True,
        text=True,
    )
    return int(done.stdout.split()[1])


def test_a_record_of_50_million_bases_needs_flat_memory(
    minute_bundle: Path, tmp_path: Path
) -> None:
    letters = "".join(random.Random(5).choices("ACGT", k=200_000))
    million = letters + "N" * 800_000  # as long to read and list, but a fifth to compute
    small, large = tmp_path / "small.fa", tmp_path / "large.fa"
    small.write_text(f">small\n{million * 10}\n")
    large.write_text(f">large\n{million * 50}\n")
    small_peak = peak_memory(small, tmp_path / "small", minute_bundle)
    large_peak = peak_memory(large, tmp_path / "large", minute_bundle)
    assert (
        (tmp_path / "large" / "records.tsv")
        .read_text()
        .split("\n")[1]
        .startswith("large\t50000000\t")
    )
    assert large_peak < small_peak + 150


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_one_line_and_the_run_continues_with_space(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a disk")
    try:
        arguments: tuple[str | Path, ...] = (
            "predict",
            *EXAMPLES,
            "-o",
            disk / "out",
            "-q",
            "--block-chunks",
            "64",
        )
        line = failed(run(*arguments))
        assert "No space left on device" in line
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        assert run(*arguments).returncode == 0
        unbroken = tmp_path / "unbroken"
        run("predict", *EXAMPLES, "-o", unbroken, "-q", "--block-chunks", "64")
        assert contents(disk / "out") == contents(unbroken)
    finally:
        subprocess.run(["umount", disk], check=True)
