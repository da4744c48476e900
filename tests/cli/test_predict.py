"""`virnucpro predict` as a user meets it: real processes, real files."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import virnucpro
from conftest import SIX_FRAMES_PRECISION
from processes import EXAMPLES, contents, run

COLUMNS = {
    "records.tsv": "record length chunks open_frames p_virus call tier probability fdr "
    "weighted_delta viral_chunks other_chunks ambiguous_chunks rollup gc mates",
    "chunks.tsv": "record chunk start end open_frames p_other p_virus call mate",
    "frames.tsv": "record chunk start end frame protein_length p_virus call mate",
}
TRACKS = ("scores.bedgraph", "regions.gff3", "regions.bed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("examples") / "out"
    done = run("predict", *EXAMPLES, "-o", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def of_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of the embedded bundle that reads open frames."""
    out = tmp_path_factory.mktemp("pair") / "out"
    done = run("predict", *EXAMPLES, "-o", out, "--bundle", "compact-pair")
    assert done.returncode == 0, done.stderr
    return out


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(out / name, separator="\t", infer_schema_length=None)


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_tables_have_the_columns_agreed_on(finished: Path, name: str) -> None:
    assert (finished / name).read_text().split("\n")[0].split("\t") == COLUMNS[name].split()


@pytest.mark.parametrize("run_of", ["finished", "of_pair"])
def test_tables_agree_with_each_other(run_of: str, request: pytest.FixtureRequest) -> None:
    out: Path = request.getfixturevalue(run_of)
    records, chunks, frames = (table(out, name) for name in COLUMNS)
    assert len(records) == 296
    assert chunks["open_frames"].sum() == len(frames) == records["open_frames"].sum()
    assert records["chunks"].sum() == len(chunks)
    unscored = records.filter(pl.col("call") == "unscored")
    assert unscored["p_virus"].null_count() == len(unscored) == records["p_virus"].null_count()
    assert (len(unscored) > 0) == (run_of == "of_pair")
    called = set(records.filter(pl.col("call") == "virus")["record"])
    fasta = (out / "viral.fasta").read_text().split("\n")
    assert {line[1:] for line in fasta if line.startswith(">")} == called


def test_all_frames_of_a_chunk_are_one_line(finished: Path) -> None:
    chunks, frames = table(finished, "chunks.tsv"), table(finished, "frames.tsv")
    assert (chunks["open_frames"] == 1).all()
    places = ["record", "chunk", "start", "end", "p_virus"]
    assert frames.select(places).equals(chunks.select(places))
    assert set(frames.select("frame", "protein_length").iter_rows()) == {("all", 0)}


def test_open_frames_have_a_line_each(of_pair: Path) -> None:
    frames = table(of_pair, "frames.tsv")
    assert set(frames["frame"]) == {"F1", "F2", "F3", "R1", "R2", "R3"}
    bases = frames["end"] - frames["start"]
    assert (bases % 3 == 0).all()
    assert frames["protein_length"].is_between(1, bases // 3).all()


def test_viral_fasta_holds_the_letters_of_the_input(finished: Path) -> None:
    text = Path(EXAMPLES[1]).read_text()
    letters = {
        entry.split("\n", 1)[0]: entry.split("\n", 1)[1].replace("\n", "")
        for entry in text.split(">")[1:]
    }
    lines = (finished / "viral.fasta").read_text().split("\n")
    found = {h[1:]: s for h, s in zip(lines[::2], lines[1::2], strict=False) if "contig" in h}
    assert len(found) > 10
    assert all(letters[name] == sequence for name, sequence in found.items())


def test_the_track_covers_records_of_several_chunks(finished: Path) -> None:
    names = ["record", "start", "end", "score"]
    track = pl.read_csv(
        finished / "scores.bedgraph", separator="\t", has_header=False, new_columns=names
    )
    several = table(finished, "records.tsv").filter(pl.col("chunks") > 1)
    chunks = table(finished, "chunks.tsv").filter(pl.col("record").is_in(several["record"]))
    assert track["record"].equals(chunks["record"])
    assert (track["score"] - chunks["p_virus"]).abs().max() <= 2e-6  # type: ignore[operator]
    bases = track.group_by("record").agg((pl.col("end") - pl.col("start")).sum())
    assert dict(bases.iter_rows()) == dict(several.select("record", "length").iter_rows())


def test_viruses_between_other_contigs_are_a_region(tmp_path: Path) -> None:
    contigs = dict(entry.split("\n", 1) for entry in Path(EXAMPLES[1]).read_text()[1:].split("\n>"))
    parts = {"other_organelle": "", "virus_eukaryotic": "", "other_prokaryote": ""}
    for line in (Path(EXAMPLES[1]).parent / "truth.tsv").read_text().splitlines()[1:]:
        name, _, kind, _ = line.split("\t")
        if kind in parts and name in contigs:
            parts[kind] += contigs[name].replace("\n", "")
    joined = tmp_path / "joined.fasta"
    joined.write_text(">host\n" + "".join(parts.values()) + "\n")
    virnucpro.predict(joined, tmp_path / "out", device="cpu")
    (line,) = (tmp_path / "out" / "regions.bed").read_text().splitlines()
    record, start, end, *_ = line.split("\t")
    before, within, _ = map(len, parts.values())
    assert record == "host"
    assert abs(int(start) - before) <= 1000
    assert abs(int(end) - (before + within)) <= 1000
    gff3 = (tmp_path / "out" / "regions.gff3").read_text()
    assert f"host\tvirnucpro\tproviral_region\t{int(start) + 1}\t{end}\t" in gff3


@pytest.mark.parametrize("run_of", ["finished", "of_pair"])
def test_summary_counts_what_the_tables_hold(run_of: str, request: pytest.FixtureRequest) -> None:
    out: Path = request.getfixturevalue(run_of)
    summary = json.loads((out / "summary.json").read_text())
    calls = table(out, "records.tsv")["call"].value_counts()
    assert summary["calls"] == {"unscored": 0} | dict(calls.iter_rows())
    assert summary["unscored"]["no open frame"] == summary["calls"]["unscored"]
    assert summary["records"] == 296
    assert {"reading", "tokens", "protein encoder", "DNA encoder"} <= summary["seconds"].keys()


def test_outputs_are_announced_before_the_work(tmp_path: Path) -> None:
    done = run("predict", *EXAMPLES, "-o", tmp_path / "out")
    announced, _, rest = done.stderr.partition("all records done")
    assert rest
    for name in (*COLUMNS, *TRACKS, "viral.fasta", "summary.json", "run.json"):
        assert name in announced


def test_a_finished_run_returns_at_once(finished: Path) -> None:
    before = contents(finished)
    done = run("predict", *EXAMPLES, "-o", finished)
    assert done.returncode == 0
    assert "already finished" in done.stderr
    assert contents(finished) == before


def test_a_missing_table_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("predict", EXAMPLES[0], "-o", out)
    before = contents(out)
    (out / "chunks.tsv").unlink()
    assert run("predict", EXAMPLES[0], "-o", out).returncode == 0
    assert contents(out) == before
    (out / "summary.json").write_text("{}")
    done = run("predict", EXAMPLES[0], "-o", out, "-q")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{out}/summary.json: cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--chunk-length", "300"], "chunk_length was 500, is 300"),
        (["--legacy"], "legacy was False, is True"),
        (["--block-chunks", "7"], "block_chunks was 2048, is 7"),
        (["--precision", "bf16"], f"precision was {SIX_FRAMES_PRECISION}, is bf16"),
    ],
)
def test_another_command_in_the_directory_is_refused(
    finished: Path, change: list[str], named: str
) -> None:
    done = run("predict", *EXAMPLES, "-o", finished, "--device", "cpu", *change)
    assert done.returncode == 1
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


def test_standard_input_gives_the_same_as_the_file(tmp_path: Path) -> None:
    named, piped = tmp_path / "named", tmp_path / "piped"
    assert run("predict", EXAMPLES[0], "-o", named).returncode == 0
    content = Path(EXAMPLES[0]).read_bytes()
    assert run("predict", "-", "-o", piped, stdin=content).returncode == 0
    assert contents(piped) == contents(named)


def test_gzip_holds_the_same_tables(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("predict", *EXAMPLES, "-o", out, "--gzip").returncode == 0
    for name in (*COLUMNS, "scores.bedgraph", "viral.fasta"):
        assert gzip.decompress((out / f"{name}.gz").read_bytes()) == (finished / name).read_bytes()


def test_python_gives_the_same_as_the_command_line(finished: Path, tmp_path: Path) -> None:
    summary = virnucpro.predict(EXAMPLES, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(finished)
    assert summary.records == 296
    assert summary.calls["virus"] == len((finished / "viral.fasta").read_text().split(">")) - 1


def test_blocks_of_another_size_give_the_same_calls(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("predict", *EXAMPLES, "-o", out, "--block-chunks", "3").returncode == 0
    one, other = table(finished, "records.tsv"), table(out, "records.tsv")
    assert one["call"].equals(other["call"])
    assert (one["p_virus"] - other["p_virus"]).abs().max() <= 2e-6  # type: ignore[operator]
    assert (out / "viral.fasta").read_bytes() == (finished / "viral.fasta").read_bytes()


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["predict", "--help"], ["schema", "tables"]]
)
def test_version_and_help_load_nothing_slow(arguments: list[str]) -> None:
    code = (
        "import sys, time; from virnucpro.cli.app import app; app(standalone_mode=False);"
        "slow = {'torch', 'numpy', 'polars', 'pyarrow', 'msgspec'} & set(sys.modules);"
        "print(time.process_time(), file=sys.stderr); sys.exit(' '.join(slow) or None)"
    )
    seconds: list[float] = []  # of CPU time, of which a busy machine takes more than its own
    while len(seconds) < 5 and min(seconds, default=1) >= 0.5:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "virnucpro" in done.stdout or "Usage" in done.stdout
        seconds.append(float(done.stderr))
    assert min(seconds) < 0.5


def test_a_run_on_a_cpu_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys; from virnucpro.cli.app import app; app(standalone_mode=False);"
        "extra = {'torch._dynamo', 'nvitop', 'ray', 'sympy', 'triton'} & set(sys.modules);"
        "sys.exit(' '.join(extra) or None)"
    )
    reads = tmp_path / "reads.fasta"
    reads.write_text(">read\n" + "ATGGCTGCA" * 40 + "\n")
    arguments = ["predict", str(reads), "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
