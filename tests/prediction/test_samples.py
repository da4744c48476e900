"""Many samples from a sheet: each as if it were alone, the weights loaded once."""

import gzip
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import virnucpro
from processes import EXAMPLES, assert_same_files, contents, run, run_ranks
from virnucpro.bundles import Bundle
from virnucpro.classify import load_classifier
from virnucpro.errors import InputError, RunError, SettingsError
from virnucpro.files import as_json
from virnucpro.prediction.outputs.sheet_tables import SampleSummaries
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.executors.processes import ProcessConnection
from virnucpro.runs.job import Plan, Silence
from virnucpro.runs.progress import Reporter

READS = gzip.decompress(Path(EXAMPLES[0]).read_bytes()).decode().split("\n@")[1:-1]
#: Small enough that a sample of some reads has several blocks.
SMALL: dict[str, Any] = {"device": "cpu", "block_chunks": 2}


def write_sheet(folder: Path, samples: Sequence[str], reads: int = 3) -> Path:
    """Write a file of some reads for each sample, and the sheet."""
    lines = ["sample,files"]
    for sample in samples:
        first = int(sample.strip("s")) % (len(READS) - reads)
        (folder / f"{sample}.fq").write_text(
            "".join(f"@{read}\n" for read in READS[first : first + reads])
        )
        lines.append(f"{sample},{sample}.fq")
    sheet = folder / "sheet.csv"
    sheet.write_text("\n".join(lines) + "\n")
    return sheet


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


class Loads:
    """Counts how often networks are loaded, each time for real."""

    def __init__(self, load: Callable[..., object]) -> None:
        self._load, self.count = load, 0

    def __call__(self, *arguments: Any) -> object:  # noqa: ANN401 (whatever the loader takes)
        self.count += 1
        return self._load(*arguments)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSummaries, int]:
    """Return a folder with 32 samples done in `out`, their summaries, and the loads it took."""
    folder = tmp_path_factory.mktemp("many")
    sheet = write_sheet(folder, [f"s{number}" for number in range(32)])
    loads = Loads(load_classifier)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("virnucpro.classify.frame_worker.load_classifier", loads)
        found = virnucpro.predict_samples(sheet, folder / "out", device="cpu")
    return folder, found, loads.count


Many = tuple[Path, SampleSummaries, int]


def test_32_samples_take_one_load_of_the_weights(many: Many) -> None:
    _, found, loads = many
    assert list(found.samples) == [f"s{number}" for number in range(32)]
    assert loads == 1
    assert found.records == 32 * 3
    assert sum(found.calls.values()) == 32 * 3


def test_a_sample_is_the_same_as_alone(many: Many, tmp_path: Path) -> None:
    folder, *_ = many
    for sample in ("s0", "s14", "s31"):
        alone = virnucpro.predict(folder / f"{sample}.fq", tmp_path / sample, device="cpu")
        assert_same_files(contents(folder / "out" / sample), contents(tmp_path / sample))
        with_others = json.loads((folder / "out" / sample / "summary.json").read_bytes())
        timed = {"seconds", "records_per_second", "tokens_per_second"}
        assert {k: v for k, v in with_others.items() if k not in timed} == {
            k: v for k, v in json.loads(as_json(alone)).items() if k not in timed
        }
        assert with_others["seconds"].keys() == alone.seconds.keys()


def test_speed_counts_the_sample_alone(many: Many) -> None:
    _, found, _ = many
    for summary in found.samples.values():
        scored = summary.records_per_second * summary.seconds["scoring"]
        assert scored == pytest.approx(summary.records, rel=0.1)
        host = sum(summary.seconds[stage] for stage in ("protein encoder", "head", "shards"))
        assert host < summary.seconds["scoring"] + 0.1


def test_a_folder_for_each_sample_and_two_tables(many: Many) -> None:
    folder, found, _ = many
    expected = {*found.samples, "samples.tsv", "records.tsv", "report.html", ".lock"}
    assert {path.name for path in (folder / "out").iterdir()} == expected


def test_the_table_of_samples_holds_their_summaries(many: Many) -> None:
    folder, found, _ = many
    header, *lines = rows(folder / "out" / "samples.tsv")
    assert header[:5] == ["sample", "records", "bases", "chunks", "open_frames"]
    assert [line[0] for line in lines] == list(found.samples)
    for line in lines:
        row, summary = dict(zip(header, line, strict=True)), found.samples[line[0]]
        assert [int(row[name]) for name in ("virus", "other", "unscored")] == [
            summary.calls[name] for name in ("virus", "other", "unscored")
        ]
        assert (int(row["records"]), int(row["bases"])) == (summary.records, summary.bases)
        assert float(row["prevalence"]) == summary.prevalence
        assert float(row["expected_viral"]) == pytest.approx(summary.records_expected_viral)
        assert float(row["seconds"]) >= summary.seconds["scoring"]


def test_the_table_of_records_is_that_of_each_sample_after_its_name(many: Many) -> None:
    folder, found, _ = many
    expected = []
    for number, sample in enumerate(found.samples):
        header, *lines = rows(folder / "out" / sample / "records.tsv")
        expected += [] if number else [["sample", *header]]
        expected += [[sample, *line] for line in lines]
    assert rows(folder / "out" / "records.tsv") == expected


def test_a_finished_sheet_returns_at_once(many: Many) -> None:
    folder, *_ = many
    before = {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.*") if p.name != ".lock"}
    arguments = ("--samples", folder / "sheet.csv", "-o", folder / "out", "--device=cpu")
    done = run("predict", *arguments, report=True)
    assert done.returncode == 0, done.stderr
    assert "all 32 samples are already finished" in done.stderr
    assert "32 samples, 96 records: " in done.stderr.splitlines()[-2]
    assert f"look first at {folder / 'out' / 'report.html'} and " in done.stderr.splitlines()[-1]
    assert done.stderr.count("will write in") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


class Stop(Silence):
    """Stops a sheet at a block, or at the tables, of one sample."""

    def __init__(self, sample: str, blocks: int | None = None) -> None:
        self._sample, self._blocks, self._is_here = sample, blocks, False

    def planned(self, plan: Plan) -> None:
        self._is_here = plan.sample is not None and plan.sample.name == self._sample

    def advanced(self, progress: Progress) -> None:
        if self._is_here and progress.records == self._blocks:
            raise KeyboardInterrupt

    def merging(self) -> None:
        if self._is_here:
            raise KeyboardInterrupt


def test_a_sheet_that_was_stopped_continues_to_the_same_bytes(tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path, ["s1", "s2", "s3"], reads=9)
    out = tmp_path / "out"
    virnucpro.predict_samples(sheet, tmp_path / "unbroken", **SMALL)
    for stop in (Stop("s1", 4), Stop("s2"), Stop("s3", 2)):
        with pytest.raises(KeyboardInterrupt):
            virnucpro.predict_samples(sheet, out, observer=stop, **SMALL)
        assert not (out / "samples.tsv").exists()
    found = virnucpro.predict_samples(sheet, out, **SMALL)
    assert [summary.resumed_records >= 2 for summary in found.samples.values()] == [True] * 3
    for sample in found.samples:
        assert_same_files(contents(out / sample), contents(tmp_path / "unbroken" / sample))
    tables = [(tmp_path / name / "records.tsv").read_bytes() for name in ("unbroken", "out")]
    assert tables[0] == tables[1]


def test_a_sheet_that_gains_samples_does_these_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    virnucpro.predict_samples(write_sheet(tmp_path, ["s1", "s2"]), out, **SMALL)
    before = (out / "s1" / "run.json").read_bytes()
    sheet = write_sheet(tmp_path, ["s3", "s1", "s2"])
    done = run("predict", "--samples", sheet, "-o", out, "--device=cpu", "--block-chunks=2")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 samples were already finished" in done.stderr
    assert "sample 1 of 3 (s3): all records done" in done.stderr
    assert (out / "s1" / "run.json").read_bytes() == before
    assert [row[0] for row in rows(out / "samples.tsv")] == ["sample", "s3", "s1", "s2"]
    assert len(rows(out / "records.tsv")) == 1 + 3 * 3


def test_workers_of_their_own_are_started_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    start_one = ProcessConnection.start

    def counted(self: ProcessConnection, *arguments: Any) -> object:  # noqa: ANN401
        started.append(self.pid)
        return start_one(self, *arguments)

    monkeypatch.setattr(ProcessConnection, "start", counted)
    sheet = write_sheet(tmp_path, ["s1", "s2", "s3", "s4"], reads=9)
    options = {**SMALL, "compressed": True, "legacy": True}
    virnucpro.predict_samples(sheet, tmp_path / "out", **options | {"device": "cpu,cpu"})
    assert len(started) == len(set(started)) == 2
    virnucpro.predict(tmp_path / "s4.fq", tmp_path / "alone", **options)
    assert_same_files(contents(tmp_path / "out" / "s4"), contents(tmp_path / "alone"))
    packed = gzip.decompress((tmp_path / "out" / "records.tsv.gz").read_bytes())
    assert len(packed.splitlines()) == 1 + 4 * 9


def test_launched_processes_share_the_samples(tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path, [f"s{number}" for number in range(6)], reads=9)
    options = ["--device=cpu", "--block-chunks=2"]
    run_ranks("predict", "--samples", sheet, "-o", tmp_path / "out", *options)
    virnucpro.predict_samples(sheet, tmp_path / "local", **SMALL)
    for sample in (f"s{number}" for number in range(6)):
        found, expected = (contents(tmp_path / out / sample) for out in ("out", "local"))
        assert_same_files(found, expected)
    tables = [(tmp_path / out / "records.tsv").read_bytes() for out in ("out", "local")]
    assert tables[0] == tables[1]


def test_what_could_not_be_processed_is_told_by_sample(tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path, ["s1", "s2"])
    (tmp_path / "s2.fq").write_text(">good\nACGTACGTACGT\n>odd\nEF\n")
    done = run("predict", "--samples", sheet, "-o", tmp_path / "out", "-q")
    assert done.returncode == 3
    assert f"not processed: s2: {tmp_path}/s2.fq: record 2 (odd), line 3" in done.stderr
    header, _, row = rows(tmp_path / "out" / "samples.tsv")
    assert dict(zip(header, row, strict=True))["not_processed"] == "1"


@pytest.mark.parametrize("arguments", [[], ["x.fq", "--samples", "sheet.csv"]])
def test_files_or_a_sheet(arguments: list[str]) -> None:
    done = run("predict", *arguments, "-o", "out")
    assert done.returncode == 2
    assert "give files, pairs with -1 and -2, or a sheet with --samples" in " ".join(
        done.stderr.split()
    )


def test_nothing_is_written_where_the_sheet_is_wrong(tmp_path: Path) -> None:
    sheet, out = write_sheet(tmp_path, ["s1", "s2"]), tmp_path / "out"
    with pytest.raises(SettingsError, match=r"--device tpu"):
        virnucpro.predict_samples(sheet, out, device="tpu")
    (tmp_path / "s2.fq").unlink()
    with pytest.raises(InputError, match=r"sheet.csv, line 3: .*s2.fq: cannot be read"):
        virnucpro.predict_samples(sheet, out)
    assert not out.exists()


def test_a_line_of_two_files_is_pairs(tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path, ["s1", "s2"])
    sheet.write_text("sample,fastq_1,fastq_2\none,s1.fq,mates.fq\n")
    first, second = tmp_path / "s1.fq", tmp_path / "mates.fq"
    shutil.copy(first, second)
    virnucpro.predict_samples(sheet, tmp_path / "out", **SMALL)
    virnucpro.predict([], tmp_path / "alone", mates=[(first, second)], **SMALL)
    alone = (tmp_path / "alone" / "records.tsv").read_bytes()
    assert (tmp_path / "out" / "one" / "records.tsv").read_bytes() == alone
    assert rows(tmp_path / "out" / "records.tsv")[1][-1] == "2"


def test_nothing_of_another_origin_is_written_over(many: Many, tmp_path: Path) -> None:
    folder, *_ = many
    sheet, run_of_one = folder / "sheet.csv", folder / "out" / "s0"
    with pytest.raises(RunError, match=r"s0: holds a run without samples"):
        virnucpro.predict_samples(sheet, run_of_one, device="cpu")
    with pytest.raises(RunError, match=r"out/s0: holds another run \(chunk_length was 500, is 300"):
        virnucpro.predict_samples(sheet, folder / "out", device="cpu", chunk_length=300)
    (tmp_path / "records.tsv").write_text("years of work")
    with pytest.raises(RunError, match=r"records.tsv: was not written by a sheet"):
        virnucpro.predict_samples(sheet, tmp_path, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["records.tsv"]


def test_runs_made_alone_become_those_of_a_sheet(tmp_path: Path) -> None:
    sheet, out = write_sheet(tmp_path, ["s1", "s2"]), tmp_path / "out"
    virnucpro.predict(tmp_path / "s2.fq", out / "s2", **SMALL)
    (out / "notes.txt").write_text("mine")
    before = (out / "s2" / "run.json").read_bytes()
    virnucpro.predict_samples(sheet, out, **SMALL)
    assert (out / "s2" / "run.json").read_bytes() == before
    assert (out / "notes.txt").read_text() == "mine"
    assert len(rows(out / "records.tsv")) == 1 + 2 * 3
    shutil.rmtree(out / "s1")
    (tmp_path / "s1.fq").write_text(f"@{READS[50]}\n")
    virnucpro.predict_samples(sheet, out, **SMALL)
    assert len(rows(out / "records.tsv")) == 1 + 3 + 1


def test_notes_of_every_sample_are_told_and_kept(tiny_bundle: Bundle, tmp_path: Path) -> None:
    sheet, heard = write_sheet(tmp_path, ["s1", "s2", "s3"]), io.StringIO()
    for name in ("s2", "s3"):
        (tmp_path / f"{name}.fq").write_text("@x/1\nACGT\n+\nIIII\n@x/2\nACGT\n+\nIIII\n")
    found = virnucpro.predict_samples(
        sheet, tmp_path / "out", bundle=tiny_bundle.path, chunk_length=400, report=False,
        observer=Reporter(heard), **SMALL,
    )  # fmt: skip
    common = "tiny was trained for chunks of 300, 500 bp, not 400"
    own = {
        n: f"{tmp_path}/{n}.fq looks like interleaved pairs: --interleaved gives"
        for n in ("s2", "s3")
    }
    assert heard.getvalue().count(f"note: {common}\n") == 1
    for name, note in own.items():
        assert f"note: {name}: {note}" in heard.getvalue()
    assert found.samples["s1"].notes == [common]
    for name, note in own.items():
        kept = json.loads((tmp_path / "out" / name / "summary.json").read_bytes())["notes"]
        assert kept == [common, f"{note} one call per pair"]
