"""Pairs, BAM and long reads through `predict`, and what it writes of them."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pysam
import pytest

import virnucpro
from processes import EXAMPLES, assert_same_files, contents, run
from read_files import (
    Fastq,
    Line,
    bam_lines,
    in_turn,
    made_reads,
    needs_samtools,
    paired_lines,
    samtools,
    write_bam,
    write_fastq,
)
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.job import Plan, Silence
from virnucpro.sequences import Record, SequenceFile

CALLS = ("virus", "other", "unscored")
STEMS = dict(zip(("viral", "other", "unscored"), CALLS, strict=True))
#: Blocks so small that pairs, and the long mate 2 of one, are spread over several.
SMALL = 5


def example_pairs() -> tuple[list[Fastq], list[Fastq]]:
    """Return example reads as 40 pairs; a mate has 6,000 bases, three have none."""
    qualities = made_reads(80, 500, "", 3)
    with SequenceFile(EXAMPLES[0]) as file:
        letters = [record.sequence for record, _ in zip(file, range(80), strict=False)]
    letters[11] = (letters[11] * 40)[:6000]
    letters[20] = letters[30] = letters[31] = ""
    reads = [
        Fastq(f"f{i // 2} {i % 2 + 1}:N:0:ACGT", text, (quality.qualities * 12)[: len(text)])
        for i, (text, quality) in enumerate(zip(letters, qualities, strict=True))
    ]
    return reads[::2], reads[1::2]


Predict = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the pairs in two files, in one and as BAM."""
    folder = tmp_path_factory.mktemp("pairs")
    first, second = example_pairs()
    write_fastq(folder / "a_1.fq", first)
    write_fastq(folder / "a_2.fq", second)
    write_fastq(folder / "i.fq", in_turn(first, second))
    write_bam(folder / "a.bam", paired_lines(first, second))
    return folder


def predicted(folder: Path, inputs: Sequence[str], out: str, **options: object) -> Path:
    """Predict in this process."""
    given = {"device": "cpu", "block_chunks": SMALL, "reads": "fastq", "write": CALLS, "bam": True}
    found = folder / out
    virnucpro.predict([folder / name for name in inputs], found, **(given | options))  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def of_files(folder: Path) -> Path:
    """Return a run of two files."""
    return predicted(folder, [], "files", mates=[(folder / "a_1.fq", folder / "a_2.fq")])


@pytest.fixture(scope="module")
def of_bam(folder: Path) -> Path:
    """Return a run of BAM."""
    return predicted(folder, ["a.bam"], "bam")


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(out / name, separator="\t", infer_schema_length=None)


def test_a_pair_is_one_record(of_files: Path) -> None:
    records, chunks = table(of_files, "records.tsv"), table(of_files, "chunks.tsv")
    first, second = example_pairs()
    assert records["record"].to_list() == [f"f{i}" for i in range(40)]
    assert records["mates"].unique().to_list() == [2]
    texts = [one.letters + other.letters for one, other in zip(first, second, strict=True)]
    assert records["length"].to_list() == list(map(len, texts))
    bases = [sum(map(text.count, "ACGT")) for text in texts]
    assert records["gc"].is_null().arg_true().to_list() == [bases.index(0)] == [15]
    gc = [(t.count("G") + t.count("C")) / n for t, n in zip(texts, bases, strict=True) if n]
    assert records["gc"].drop_nulls().to_list() == pytest.approx(gc, abs=1e-6)
    assert records["chunks"].sum() == len(chunks)
    long = chunks.filter(pl.col("record") == "f5")
    assert long["chunk"].to_list() == list(range(1, 14))
    assert long["mate"].to_list() == [1] + [2] * 12
    assert long["start"].to_list()[1:] == list(range(0, 6000, 500))
    assert long["end"].to_list()[-1] == 6000
    frames = table(of_files, "frames.tsv")
    places = ["record", "chunk", "start", "end", "mate"]
    assert frames.select(places).equals(chunks.select(places))


def test_a_mate_that_cannot_be_processed_leaves_the_pair_to_the_other(
    of_files: Path, folder: Path
) -> None:
    records = table(of_files, "records.tsv")
    summary = json.loads((of_files / "summary.json").read_text())
    assert (records["call"] == "unscored").arg_true().to_list() == [15]
    assert records["chunks"].to_list()[10] == 1
    assert summary["unscored"] == {"no open frame": 0, "not processed": 1}
    assert summary["problems"] == [
        f"{folder}/a_1.fq: record 11 (f10), line 41: has no bases",
        f"{folder}/a_1.fq: record 16 (f15), line 61: has no bases",
    ]


def test_pairs_give_the_same_from_any_files(of_files: Path, of_bam: Path, folder: Path) -> None:
    in_one = predicted(folder, ["i.fq"], "one", interleaved=True, bam=False)
    assert not (in_one / "reads.bam").exists()
    for name in ("records.tsv", "chunks.tsv", "frames.tsv"):
        content = (of_files / name).read_bytes()
        assert (in_one / name).read_bytes() == content
        assert (of_bam / name).read_bytes() == content
    for stem, call in STEMS.items():
        calls = table(of_files, "records.tsv")["call"] == call
        wanted = calls.arg_true().to_list()
        reads = example_pairs()
        for mate in (1, 2):
            expected = "".join(reads[mate - 1][i].text for i in wanted)
            assert (of_files / f"{stem}_{mate}.fastq").read_text() == expected
        expected = "".join(reads[mate][i].text for i in wanted for mate in (0, 1))
        assert (in_one / f"{stem}.fastq").read_text() == expected
    assert not (of_files / "viral.fastq").exists()


def test_pairs_score_as_their_chunks_do(of_files: Path, folder: Path, tmp_path: Path) -> None:
    """The chunks of reads given alone are those of the pairs."""
    out = tmp_path / "alone"
    options: dict[str, object] = {"write": ["virus"], "reads": "fasta", "bam": False}
    predicted(folder, ["a_1.fq", "a_2.fq"], str(out), **options)
    alone, pairs = table(out, "chunks.tsv"), table(of_files, "chunks.tsv")
    halves = [pairs.filter(pl.col("mate") == mate) for mate in (1, 2)]
    both = pl.concat(halves)
    for column in ("record", "start", "end", "open_frames", "call"):
        assert both[column].equals(alone[column])
    assert (both["p_virus"] - alone["p_virus"]).abs().max() <= 2e-6  # type: ignore[operator]
    assert alone["mate"].null_count() == len(alone)
    assert table(out, "records.tsv")["mates"].unique().to_list() == [1]


def untagged(path: Path) -> list[str]:
    """Return the lines of a BAM file without the tags that say the call."""
    return [
        "\t".join(field for field in line.split("\t") if field[:3] not in ("vc:", "vp:", "vt:"))
        for line in bam_lines(path)
    ]


def test_bam_keeps_all_that_the_input_says(of_bam: Path, folder: Path) -> None:
    assert untagged(of_bam / "reads.bam") == bam_lines(folder / "a.bam")
    with pysam.AlignmentFile(str(of_bam / "reads.bam")) as file:
        header = str(file.header)
        tags = [dict(line.get_tags()) for line in file]
    with pysam.AlignmentFile(str(folder / "a.bam")) as file:
        before = str(file.header)
    assert header.startswith(before)
    assert header.removeprefix(before).startswith("@PG\tID:virnucpro\tPN:virnucpro\tPP:sequencer\t")
    for row, one, other in zip(
        table(of_bam, "records.tsv").iter_rows(named=True), tags[::2], tags[1::2], strict=True
    ):
        said = {name: one.get(name) for name in ("vc", "vp", "vt")}
        assert said == {name: other.get(name) for name in said}
        assert (said["vc"], said["vt"]) == (row["call"], row["tier"])
        assert said["vp"] == pytest.approx(row["p_virus"], abs=1e-6)


def test_bam_made_of_fastq(of_files: Path) -> None:
    found = [line.split("\t") for line in untagged(of_files / "reads.bam")]
    expected = [
        [read.header.split()[0], flag, *"*00**00", read.letters or "*",
         read.qualities or "*"]
        for read, flag in zip(in_turn(*example_pairs()), ["77", "141"] * 40, strict=True)
    ]  # fmt: skip
    assert found == expected


@needs_samtools
def test_samtools_reads_what_is_written(of_files: Path, of_bam: Path, tmp_path: Path) -> None:
    first, second = example_pairs()
    for out in (of_files, of_bam):
        samtools("quickcheck", "-u", out / "reads.bam")
        files = [tmp_path / "1.fq", tmp_path / "2.fq"]
        samtools("fastq", "-n", "-1", files[0], "-2", files[1], out / "reads.bam")
        for path, reads in zip(files, (first, second), strict=True):
            again = [r._replace(header=r.header.split()[0]) for r in reads if r.letters]
            assert path.read_text() == "".join(read.text for read in again)
    wanted = samtools("view", "-c", "-d", "vc:virus", of_bam / "reads.bam")
    assert int(wanted) == 2 * table(of_bam, "records.tsv")["call"].to_list().count("virus")


@needs_samtools
def test_pairs_go_through_samtools_and_back(of_files: Path, folder: Path, tmp_path: Path) -> None:
    """FASTQ to BAM by samtools, predicted from standard input, and to FASTQ by samtools."""
    path = tmp_path / "a.bam"
    samtools("import", "-1", folder / "a_1.fq", "-2", folder / "a_2.fq", "-o", path)
    arguments = ("-o", tmp_path / "out", "-q", "--block-chunks", SMALL, "--device", "cpu")
    done = run("predict", "-", *map(str, arguments), stdin=path.read_bytes())
    assert done.returncode == 3, done.stderr
    assert "standard input: record 21 (f10): has no bases" in done.stderr
    for name in ("records.tsv", "chunks.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (of_files / name).read_bytes()


class Told(Silence):
    """Hears what a run says, and may stop it after some blocks."""

    def __init__(self, blocks: int = 0) -> None:
        self._left = blocks
        self.lines: list[str] = []

    def planned(self, plan: Plan) -> None:
        self.lines += plan.notes

    def noted(self, line: str) -> None:
        self.lines.append(line)

    def advanced(self, progress: Progress) -> None:
        self._left -= 1
        if not self._left and progress:
            raise KeyboardInterrupt


@pytest.mark.parametrize("blocks", [3, 11])
def test_pairs_that_were_interrupted_continue_to_the_same_bytes(
    folder: Path, of_bam: Path, tmp_path: Path, blocks: int
) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        predicted(folder, ["a.bam"], out, observer=Told(blocks))
    assert len(list((Path(out) / "shards").glob("*.shard"))) >= blocks - 1
    assert_same_files(contents(predicted(folder, ["a.bam"], out)), contents(of_bam))


def test_long_reads_keep_their_coordinates_over_blocks(tmp_path: Path) -> None:
    """A read of 100 kb with poor letters, in one block and over 26."""
    reads = made_reads(1, 100_003, "ont{} ch=5 start_time=2026", 9)
    poor = reads[0].letters[:40_000] + "N" * 3000 + reads[0].letters[43_000:]
    reads[0] = reads[0]._replace(letters=poor)
    write_fastq(tmp_path / "ont.fq", reads)
    for name, size in (("spread", 8), ("whole", 2048)):
        predicted(tmp_path, ["ont.fq"], name, block_chunks=size)
    records, chunks = (table(tmp_path / "spread", n) for n in ("records.tsv", "chunks.tsv"))
    assert records.select("record", "length", "chunks").rows() == [("ont0", 100_003, 201)]
    assert chunks["chunk"].to_list() == list(range(1, 202))
    assert (chunks["start"][0], chunks["end"][-1]) == (0, 100_003)
    assert (chunks["end"] - chunks["start"]).max() == 500
    assert (chunks["start"][1:] <= chunks["end"][:-1]).all()
    whole = table(tmp_path / "whole", "chunks.tsv")
    assert whole.drop("p_other", "p_virus").equals(chunks.drop("p_other", "p_virus"))
    assert (whole["p_virus"] - chunks["p_virus"]).abs().max() <= 2e-6  # type: ignore[operator]
    written = [(tmp_path / "spread" / f"{stem}.fastq").read_text() for stem in STEMS]
    assert "".join(written) == reads[0].text


def test_single_reads_and_pairs_together(folder: Path, tmp_path: Path) -> None:
    alone, out = tmp_path / "alone.fa", tmp_path / "out"
    records = [Record("x/1 single", "ACGTacgtNN" * 9), Record("odd \u00e9", "ACGTEF\u00e9")]
    alone.write_text("".join(f">{header}\n{letters}\n" for header, letters in records))
    summary = virnucpro.predict(
        alone, out, mates=[(folder / "a_1.fq", folder / "a_2.fq")], device="cpu", write=CALLS,
        compressed=True, bam=True,
    )  # fmt: skip
    assert summary.records == 42
    assert summary.problems[-1].endswith("line 3: bytes among its letters that are not ASCII")
    found = {path.name for path in out.glob("*.fasta.gz")}
    assert found == {f"{stem}{mates}.fasta.gz" for stem in STEMS for mates in ("", "_1", "_2")}
    texts = [gzip.decompress((out / f"{stem}.fasta.gz").read_bytes()) for stem in STEMS]
    assert b"".join(texts) == alone.read_bytes()
    assert texts[2].decode() == ">odd \u00e9\nACGTEF\u00e9\n"
    rows = (
        pl.read_csv(out / "records.tsv.gz", separator="\t").select("record", "mates", "gc").rows()
    )
    assert rows[-2:] == [("x/1", 1, 0.5), ("odd", 1, 0.5)]
    lines = [line.split("\t")[:11] for line in bam_lines(out / "reads.bam")[-2:]]
    expected = [("x/1", "ACGTACGTNN" * 9), ("odd", "ACGTNNNN")]  # what BAM can hold
    assert lines == [[name, "4", *"*00**00", text, "*"] for name, text in expected]


def test_a_run_of_other_reads_is_refused(of_files: Path, folder: Path) -> None:
    first, second = folder / "a_1.fq", folder / "a_2.fq"
    done = run("predict", first, second, "-o", of_files, "-q", "--device", "cpu")
    assert done.returncode == 1
    assert f"input was -1 {first} -2 {second}, is {first} {second};" in done.stderr
    assert "write was virus,other,unscored, is virus; reads was fastq, is fasta" in done.stderr


def test_passed_over_lines_of_bam_are_counted_and_kept(tmp_path: Path) -> None:
    letters = made_reads(1, 90, "")[0].letters
    lines = [
        Line("a", 0, letters, ""), Line("a", 0x900, letters, ""), Line("b", 4, letters, ""),
        Line("b", 0x100, letters, "", (("vc", "mine"),)),
    ]  # fmt: skip
    write_bam(tmp_path / "a.bam", lines)
    told = Told()
    out = predicted(tmp_path, ["a.bam"], "out", reads="fasta", observer=told)
    assert "2 secondary and supplementary alignments were skipped" in told.lines
    assert json.loads((out / "summary.json").read_text())["skipped"] == 2
    with pysam.AlignmentFile(str(out / "reads.bam")) as file:
        calls = [dict(line.get_tags()).get("vc") for line in file]
    assert calls[1::2] == [None, "mine"]
    assert calls[0] in CALLS
    assert untagged(out / "reads.bam")[:3] == bam_lines(tmp_path / "a.bam")[:3]
