"""From labelled records to probabilities and calls by a false discovery rate, as a user does it."""

import json
from pathlib import Path

import polars as pl
import pytest

import virnucpro
from bundle_files import without_calibration
from processes import (
    EXAMPLES,
    ROOT,
    assert_same_files,
    contents,
    kill_after_shards,
    run,
    run_ranks,
    start,
)
from virnucpro.bundles import load_bundle
from virnucpro.errors import SettingsError

TRUTH = ROOT / "examples" / "truth.tsv"
OPTIONS = ["--block-chunks", "16", "--device", "cpu", "--precision", "fp32"]
#: Calls some records that the threshold does not.
LENIENT = ["--max-fdr", "0.5", "--prevalence", "auto"]

Arguments = list[str | Path]


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return `compact` without its calibration."""
    return without_calibration(tmp_path_factory.mktemp("uncalibrated") / "compact")


@pytest.fixture(scope="module")
def plain(uncalibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "out"
    done = run("predict", *EXAMPLES, "-o", out, "--bundle", uncalibrated, *OPTIONS)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def calibrated(uncalibrated: Path, plain: Path) -> Path:
    """Return a bundle that was calibrated on the examples."""
    made = plain.parent / "bundle"
    done = run("calibrate", plain, TRUTH, "-o", made, "--bundle", uncalibrated)
    assert done.returncode == 0, done.stderr
    assert "expected calibration error" in done.stdout
    assert f"virnucpro predict --bundle {made} uses it" in done.stdout
    return made


@pytest.fixture(scope="module")
def lenient(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with calls by a false discovery rate."""
    out = tmp_path_factory.mktemp("lenient") / "out"
    done = run("predict", *EXAMPLES, "-o", out, "--bundle", calibrated, *OPTIONS, *LENIENT)
    assert done.returncode == 0, done.stderr
    return out


def table(out: Path) -> pl.DataFrame:
    return pl.read_csv(out / "records.tsv", separator="\t", infer_schema_length=None)


def summary(out: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / "summary.json").read_bytes())
    return found


def test_the_calibration_says_what_it_was_fitted_on(calibrated: Path) -> None:
    calibration = load_bundle(calibrated).manifest.calibration
    assert calibration is not None
    fitted = (calibration.prevalence, calibration.chunk_length, calibration.frames)
    assert fitted == (0.5, 500, "all")
    assert "reads.fastq.gz, contigs.fasta" in calibration.data
    assert calibration.metrics["viruses"] > 50


def test_scores_stay_and_what_is_more_likely_viral_than_not_is_called(
    plain: Path, calibrated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("predict", *EXAMPLES, "-o", out, "--bundle", calibrated, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "%, estimated from the scores" in done.stderr
    before, after = table(plain), table(out)
    decided = ("probability", "fdr", "call", "tier", "tier_reason")
    columns = [name for name in before.columns if name not in decided]
    assert len(columns) > 8
    assert after.select(columns).equals(before.select(columns))
    for name in ("chunks.tsv", "frames.tsv"):
        assert (out / name).read_bytes() == (plain / name).read_bytes()
    scored = after.filter(pl.col("call") != "unscored")
    assert ((scored["call"] == "virus") == (scored["probability"] > 0.5)).all()
    called = scored.filter(pl.col("call") == "virus")["record"].to_list()
    assert called != before.filter(pl.col("call") == "virus")["record"].to_list()
    headers = [line for line in (out / "viral.fasta").read_text().split("\n") if line[:1] == ">"]
    assert [header[1:].split()[0] for header in headers] == called
    assert scored.select("probability", "fdr").null_count().row(0) == (0, 0)
    found = summary(out)
    assert found["calibrated"] is found["prevalence_estimated"] is True
    assert found["records_expected_viral"] == pytest.approx(scored["probability"].sum(), abs=0.001)
    found = summary(plain)
    assert found["calibrated"] is False
    assert found["prevalence"] is found["records_expected_viral"] is None


def test_few_are_called_where_viruses_are_rare(calibrated: Path, tmp_path: Path) -> None:
    counts = {}
    for share in ("0.02", "0.9"):
        out = tmp_path / share
        done = run(
            "predict", EXAMPLES[0], "-o", out, "--bundle", calibrated, "--prevalence", share,
            *OPTIONS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        records = table(out)
        called = records.filter(pl.col("call") == "virus")
        assert called.equals(records.filter(pl.col("probability") > 0.5))
        assert (out / "viral.fasta").read_text().count(">") == len(called)
        counts[share] = len(called)
    assert counts["0.02"] < counts["0.9"]


def test_an_unscored_record_has_no_probability(calibrated: Path, tmp_path: Path) -> None:
    reads = tmp_path / "reads.fa"
    reads.write_text(f">none\n{'N' * 700}\n>some\n{'ATGGCTGCA' * 70}\n")
    done = run("predict", reads, "-o", tmp_path / "out", "--bundle", calibrated, *OPTIONS)
    assert done.returncode == 0, done.stderr
    none, some = table(tmp_path / "out").rows(named=True)
    assert (none["call"], none["chunks"], none["open_frames"]) == ("unscored", 2, 0)
    assert none["p_virus"] is none["probability"] is none["fdr"] is None
    assert some["p_virus"] is not None
    assert 0 < some["probability"] < 1


def test_calls_by_false_discovery_rate(plain: Path, lenient: Path) -> None:
    records = table(lenient).filter(pl.col("call") != "unscored")
    assert ((records["call"] == "virus") == (records["fdr"] <= 0.5)).all()
    called = records.filter(pl.col("call") == "virus")
    newly = called.filter(pl.col("p_virus") < 0.5)
    assert len(newly) > 0
    assert summary(lenient)["calls"]["virus"] == len(called)  # type: ignore[index]
    found = (lenient / "viral.fasta").read_text().split("\n")
    assert [header[1:].split()[0] for header in found[:-1:2]] == called["record"].to_list()
    assert all(found[1::2])
    letters = "".join((plain / "viral.fasta").read_text())
    assert any(sequence not in letters for sequence in found[1::2])
    text = Path(EXAMPLES[1]).read_text().replace("\n", "")
    contigs = [s for h, s in zip(found[::2], found[1::2], strict=False) if "contig" in h]
    assert len(contigs) > 5
    assert all(sequence in text for sequence in contigs)


def test_an_estimated_prevalence_is_that_of_the_same_number(
    lenient: Path, calibrated: Path, tmp_path: Path
) -> None:
    out, share = tmp_path / "out", summary(lenient)["prevalence"]
    assert summary(lenient)["prevalence_estimated"] is True
    options = ["--bundle", str(calibrated), *OPTIONS, *LENIENT[:2], "--prevalence", str(share)]
    assert run("predict", *EXAMPLES, "-o", out, *options).returncode == 0
    for name in ("records.tsv", "viral.fasta"):
        assert (out / name).read_bytes() == (lenient / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--prevalence", "0.1", "--max-fdr", "0.5"], "prevalence was auto, is 0.1"),
        (["--prevalence", "0.5", "--max-fdr", "0.5"], "prevalence was auto, is 0.5"),
        (["--prevalence", "auto", "--max-fdr", "0.1"], "max_fdr was 0.5, is 0.1"),
        (["--prevalence", "auto"], "max_fdr was 0.5, is none"),
    ],
)
def test_another_share_in_the_directory_is_refused(
    lenient: Path, calibrated: Path, change: list[str], said: str
) -> None:
    options: Arguments = ["--bundle", calibrated, *OPTIONS, "-q", *change]
    done = run("predict", *EXAMPLES, "-o", lenient, *options)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]


def test_a_killed_run_continues_to_the_same_bytes(
    lenient: Path, calibrated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command: Arguments = ["predict", *EXAMPLES, "-o", out]
    command += ["--bundle", calibrated, *OPTIONS, *LENIENT]
    process = start(*command)
    assert kill_after_shards(process, out, 8)
    process.communicate()
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert_same_files(contents(out), contents(lenient))


def test_two_workers_give_the_same_bytes(lenient: Path, calibrated: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options: Arguments = ["--bundle", calibrated, "--block-chunks", "16", *LENIENT]
    options += ["--device", "cpu,cpu", "--precision", "fp32"]
    done = run("predict", *EXAMPLES, "-o", out, *options)
    assert done.returncode == 0, done.stderr
    assert_same_files(contents(out), contents(lenient))


def test_launched_ranks_give_the_same_bytes(
    lenient: Path, calibrated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_ranks("predict", *EXAMPLES, "-o", out, "--bundle", calibrated, *OPTIONS, *LENIENT)
    assert_same_files(contents(out), contents(lenient))


@pytest.mark.parametrize("option", [["--max-fdr", "0.1"], ["--prevalence", "auto"]])
def test_without_a_calibration_it_is_one_line(tmp_path: Path, option: list[str]) -> None:
    bundle = ["--bundle", "compact-pair"]
    done = run("predict", EXAMPLES[0], "-o", tmp_path / "out", *bundle, *option)
    assert done.returncode == 1
    assert done.stderr == (
        f"virnucpro: error: {' '.join(option)}: compact-pair has no calibration; fit one with "
        "virnucpro calibrate, or omit the option\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0, 1, -0.1, 2, float("nan")])
@pytest.mark.parametrize("option", ["prevalence", "max_fdr"])
def test_a_share_is_between_0_and_1(
    calibrated: Path, tmp_path: Path, option: str, share: float
) -> None:
    said = f"--{option.replace('_', '-')} {share}: give a share between 0 and 1"
    with pytest.raises(SettingsError, match=said):
        virnucpro.predict(
            EXAMPLES[0],
            tmp_path / "out",
            bundle=calibrated,
            **{option: share},  # type: ignore[arg-type]
        )


def test_a_prevalence_that_is_no_number_is_wrong_usage(tmp_path: Path) -> None:
    done = run("predict", EXAMPLES[0], "-o", tmp_path / "out", "--prevalence", "many")
    assert done.returncode == 2
    assert "many: give a share such as 0.01, or auto" in done.stderr


def test_other_chunks_than_the_calibrations_are_noted(calibrated: Path, tmp_path: Path) -> None:
    options = ("--chunk-length", "300", "--prevalence", "0.01")
    done = run("predict", EXAMPLES[0], "-o", tmp_path / "out", "--bundle", calibrated, *options)
    assert done.returncode == 0, done.stderr
    assert "the calibration was fitted for chunks of 500 bp and all frames" in done.stderr
    assert "probabilities are for samples" not in done.stderr


def test_a_calibrated_bundle_can_be_calibrated_again(
    lenient: Path, calibrated: Path, tmp_path: Path
) -> None:
    made = virnucpro.calibrate(lenient, TRUTH, bundle=calibrated, out=tmp_path / "again")
    before = load_bundle(calibrated).manifest.calibration
    assert made.manifest.calibration is not None
    assert before is not None
    assert made.manifest.calibration.lines == before.lines


def test_duplicate_ids_and_gzip(plain: Path, tmp_path: Path) -> None:
    """Mates share an id and a label."""
    twice = [EXAMPLES[0], EXAMPLES[1], EXAMPLES[0]]
    assert run("predict", *twice, "-o", tmp_path / "out", "--gzip", *OPTIONS).returncode == 0
    made = virnucpro.calibrate(tmp_path / "out", TRUTH, out=tmp_path / "new")
    calibration = made.manifest.calibration
    assert calibration is not None
    reads = len(table(plain).filter(pl.col("record").str.starts_with("read")).drop_nulls("p_virus"))
    scored = len(table(plain).drop_nulls("p_virus"))
    assert calibration.metrics["records"] == scored + reads


@pytest.fixture
def few_labels(tmp_path: Path) -> Path:
    path = tmp_path / "few.tsv"
    path.write_text("\n".join(TRUTH.read_text().split("\n")[:60]) + "\n")
    return path


def refused(*arguments: str | Path) -> str:
    done = run("calibrate", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_calibrate_refuses_in_one_line(
    uncalibrated: Path, plain: Path, calibrated: Path, few_labels: Path, tmp_path: Path
) -> None:
    new, same = tmp_path / "new", ("--bundle", uncalibrated)
    assert "give either a directory (-o) or a name (--name)" in refused(plain, TRUTH)
    assert "give either" in refused(plain, TRUTH, "-o", new, "--name", "new")
    assert "holds no run of predict" in refused(tmp_path, TRUTH, "-o", new)
    assert "holds no run of predict" in refused(TRUTH, TRUTH, "-o", new)
    assert "not with" in refused(plain, TRUTH, "-o", new, "--bundle", calibrated)
    assert "is there already" in refused(plain, TRUTH, "-o", calibrated, *same)
    assert "other scored records have a label; a calibration needs 50" in refused(
        plain, few_labels, "-o", new, *same
    )
    few_labels.write_text("record\tis_virus\nstranger\t1\n")
    assert "labels no scored record of" in refused(plain, few_labels, "-o", new, *same)
    assert not new.exists()


def test_an_unfinished_run_is_refused(plain: Path, tmp_path: Path) -> None:
    text = (plain / "run.json").read_text().replace('"finished",', '"unfinished",', 1)
    (tmp_path / "run.json").write_text(text)
    assert "is not finished" in refused(tmp_path, TRUTH, "-o", tmp_path / "new")
