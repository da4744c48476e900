"""`evaluate` and `virnucpro evaluate` as a user meets them."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import virnucpro
from made_labels import write_table
from processes import EXAMPLES, ROOT, run
from virnucpro.classify import CALL_NAMES
from virnucpro.cli.app import app
from virnucpro.errors import InputError, RunError
from virnucpro.evaluation.api import evaluate
from virnucpro.evaluation.evaluation_files import FILES
from virnucpro.evaluation.matching import CALLS

TRUTH = ROOT / "examples" / "truth.tsv"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that leaves some records unscored."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    virnucpro.predict(EXAMPLES, out, bundle="compact-pair", report=False)
    return out


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write_table(
        tmp_path / "p.tsv",
        "record length p_virus call",
        "a 300 0.9 virus",
        "b 500 0.2 other",
        "c 500 0.6 virus",
        "d 300 _ unscored",
    )


Labels = Callable[..., Path]


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    def write(*rows: str, header: str = "id is_virus") -> Path:
        return write_table(tmp_path / "l.tsv", header, *rows)

    return write


def test_a_run_on_the_examples(predicted: Path, tmp_path: Path) -> None:
    done = run("evaluate", predicted, TRUTH, "-o", tmp_path / "e", "--bootstrap", "50")
    assert done.returncode == 0, done.stderr
    assert "AUROC" in done.stdout
    assert "virus_phage" in done.stdout
    found = json.loads((tmp_path / "e" / "evaluation.json").read_bytes())
    everything = found["views"]["all"]["overall"]
    assert everything["records"] == 296
    assert found["without_label"] == found["without_prediction"] == 0
    for metric in ("auroc", "auprc", "mcc_at_call", "unscored"):
        estimate = everything["measures"][metric]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    scored = found["views"]["scored"]["overall"]["measures"]
    assert scored["auroc"]["value"] > everything["measures"]["auroc"]["value"]
    assert sum(b["records"] for b in found["reliability"]) < 296
    rows = pl.read_csv(tmp_path / "e" / "evaluation.tsv", separator="\t")
    assert rows.columns == ["view", "group", "metric", "value", "low", "high"]
    row = rows.filter(view="all", group="overall", metric="auroc")
    assert row["value"][0] == pytest.approx(everything["measures"]["auroc"]["value"])
    assert {p.name for p in (tmp_path / "e").iterdir()} == set(FILES)
    for name in FILES:
        assert not name.endswith(".png") or (tmp_path / "e" / name).read_bytes()[:8] == PNG


def test_the_same_seed_gives_the_same_bytes(predicted: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        evaluate(predicted, TRUTH, tmp_path / name, bootstrap=20)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    other = evaluate(predicted, TRUTH, bootstrap=20, seed=2)
    assert other.to_tsv() != (tmp_path / "one" / "evaluation.tsv").read_bytes()
    with pytest.raises(RunError, match=r"holds evaluation\.json of something else"):
        evaluate(predicted, TRUTH, tmp_path / "one", bootstrap=20, seed=2)
    evaluate(predicted, TRUTH, tmp_path / "one", bootstrap=20)


def test_calibrate_says_what_does_not_count(predicted: Path, tmp_path: Path) -> None:
    header, *rows = TRUTH.read_text().splitlines()
    (tmp_path / "l.tsv").write_text("\n".join([header, *rows[40:], "stranger\t1\t\t"]))
    notes: list[str] = []
    virnucpro.calibrate(
        predicted, tmp_path / "l.tsv", bundle="compact-pair", out=tmp_path / "new",
        on_note=notes.append,
    )  # fmt: skip
    records = pl.read_csv(predicted / "records.tsv", separator="\t", infer_schema_length=None)
    unlabelled = records.filter(pl.col("record").is_in([row.split("\t")[0] for row in rows[:40]]))
    assert notes == [
        f"{len(unlabelled.drop_nulls('p_virus'))} scored records have no label and are left out",
        "1 labelled records are not in the run",
    ]


def test_sequences_named_by_class_are_labels(predictions: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classes"
    folder.mkdir()
    (folder / "virus_x.fasta").write_text(">a first\nACGT\n>d\nACGT\n")
    (folder / "other.y.fq").write_text("@b\nACGT\n+\nIIII\n@z\nACGT\n+\nIIII\n")
    (folder / "README").write_text("not a class\n")
    for given in (folder, [folder / "virus_x.fasta", folder / "other.y.fq"]):
        found = evaluate(predictions, given, bootstrap=0)
        assert (found.without_label, found.without_prediction) == (1, 1)
        assert found.views["all"]["class virus_x"].records == 2
        assert found.views["all"]["class other"].measures["auroc"].value == 0.5
        assert found.views["all"]["overall"].measures["auroc"].low is None


def test_a_record_predicted_twice_counts_twice(tmp_path: Path, labels: Labels) -> None:
    table = write_table(tmp_path / "p.tsv", "record p_virus", "a 0.9", "a 0.1", "b 0.5")
    found = evaluate(table, labels("a 1", "b 0"), bootstrap=0).views["all"]["overall"]
    assert (found.records, found.sources) == (3, 2)
    assert found.measures["auroc"].value == 0.5
    assert "recall_at_call" not in found.measures
    assert found.measures["recall_at_half"].value == 0.5


def test_a_column_probability_is_used_for_calibration(tmp_path: Path, labels: Labels) -> None:
    table = write_table(
        tmp_path / "p.tsv", "record logit probability", "a -3 0.7", "b -9 0.4", "c _ _"
    )
    found = evaluate(table, labels("a 1", "b 0", "c 1"), score_column="logit", bootstrap=0)
    assert found.probability_column == "probability"
    measures = found.views["scored"]["overall"].measures
    assert measures["brier"].value == pytest.approx((0.3**2 + 0.4**2) / 2)
    assert measures["recall_at_half"].value == 1
    assert found.views["all"]["overall"].measures["recall_at_half"].value == 0.5
    table = write_table(tmp_path / "e.tsv", "record p_virus probability", "a 0.8 _", "b 0.4 _")
    found = evaluate(table, labels("a 1", "b 0"), bootstrap=0)
    assert found.probability_column == "p_virus"
    table = write_table(tmp_path / "q.tsv", "record logit", "a -3", "b -9")
    found = evaluate(table, labels("a 1", "b 0"), tmp_path / "o", score_column="logit", bootstrap=5)
    assert found.probability_column is None
    assert not found.reliability
    assert "ece" not in found.views["scored"]["overall"].measures


def test_compressed_tables_and_other_line_ends(predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "records.tsv.gz").write_bytes(gzip.compress(predictions.read_bytes()))
    (tmp_path / "l.tsv").write_bytes(b"record\tis_virus\r\na\t1\r\nb\t0\r\n")
    found = evaluate(tmp_path / "run", tmp_path / "l.tsv", bootstrap=0)
    assert found.views["all"]["overall"].measures["mcc_at_call"].value == 1


def test_a_table_as_people_keep_it(predictions: Path, tmp_path: Path) -> None:
    """Empty lines, blanks about a cell, sources by the other name that `train` takes."""
    rows = ("\ufeffid\trecord\tis_virus\tgenome", "1\t a \t 1 \tG", "", "2\tc\t1\tG ", "3\tb\t0\t ")
    path = tmp_path / "l.tsv"
    path.write_text("\r\n".join([*rows, "", "", ""]))
    found = evaluate(predictions, path, bootstrap=0)
    assert (found.without_label, found.without_prediction) == (1, 0)
    everything = found.views["all"]["overall"]
    assert (everything.records, everything.virus, everything.sources) == (3, 2, 2)
    said = "intervals are too narrow, as there are few sources: virus 1, other 1"
    assert said in evaluate(predictions, path, bootstrap=1).notes
    path.write_text("\n".join([*rows, "4\td\tmaybe\t", ""]))
    with pytest.raises(InputError, match="line 6: is_virus is 'maybe'"):
        evaluate(predictions, path)


def test_labels_that_differ_are_counted(predictions: Path, labels: Labels) -> None:
    rows = ("a 1 virus_x G", "a 1 virus_x G", "a 1 virus_y G", "a 1 virus_x H", "b 0 other I")
    found = evaluate(predictions, labels(*rows, header="id is_virus class source"), bootstrap=0)
    assert "class virus_y" not in found.views["all"]
    said = "2 labels give a record another class or source than an earlier label, which counts"
    assert said in found.notes


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (("a 1", "b 0", "a 0"), "id is_virus", "record 'a' is labelled both virus and other"),
        (("a 1", "b maybe"), "id is_virus", "line 3: is_virus is 'maybe'; give 1 or 0, true"),
        (("a 1",), "id label", "line 1: needs .* and is_virus or class; it has id, label"),
        (("x 1", "y 0"), "id is_virus", r"no record has a label; are ids the same \('a', 'x'\)"),
        (("a 1", "c 1"), "id is_virus", "all labels are viral; label some other records too"),
        (("d 1", "d 1"), "id is_virus", "all labels are viral"),
    ],
)
def test_bad_labels(
    predictions: Path, labels: Labels, rows: tuple[str, ...], header: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        evaluate(predictions, labels(*rows, header=header))
    assert "\n" not in str(raised.value)


def test_bad_predictions(predictions: Path, labels: Labels, tmp_path: Path) -> None:
    good = labels("a 1", "b 0")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no records\.tsv; is its run finished"):
        evaluate(tmp_path / "empty", good)
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(tmp_path / "nowhere.tsv", good)
    with pytest.raises(InputError, match="and score; it has record, length, p_virus, call"):
        evaluate(predictions, good, score_column="score")
    with pytest.raises(InputError, match="line 2: call is 'yes'; give virus, other, unscored"):
        evaluate(write_table(tmp_path / "q", "record p_virus call", "a 0.1 yes"), good)
    with pytest.raises(InputError, match="line 3: p_virus is 'high'"):
        evaluate(write_table(tmp_path / "q", "record p_virus", "a 0.1", "b high"), good)
    with pytest.raises(InputError, match="no labelled record has a score"):
        evaluate(write_table(tmp_path / "q", "record p_virus", "a _", "b _", "c 1"), good)
    (tmp_path / "x.fa").write_text(">a\nACGT\n")
    with pytest.raises(InputError, match="not tell the label"):
        evaluate(predictions, tmp_path / "x.fa")
    with pytest.raises(InputError, match="no sequence files named virus"):
        evaluate(predictions, tmp_path / "empty")


def test_nothing_else_is_overwritten(predictions: Path, labels: Labels, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "roc.png").write_text("precious")
    with pytest.raises(RunError, match=r"holds roc\.png of something else"):
        evaluate(predictions, labels("a 1", "b 0"), tmp_path / "out")
    (tmp_path / "out" / "evaluation.json").write_bytes(b'{"asked": {"predictions": "\xff"}}')
    with pytest.raises(RunError, match=r"holds evaluation\.json of something else"):
        evaluate(predictions, labels("a 1", "b 0"), tmp_path / "out")
    assert (tmp_path / "out" / "roc.png").read_text() == "precious"


def test_a_column_that_looks_like_a_formula_is_drawn(labels: Labels, tmp_path: Path) -> None:
    table = write_table(tmp_path / "p.tsv", "record $\\frac$", "a 0.9", "b 0.1")
    evaluate(table, labels("a 1", "b 0"), tmp_path / "o", score_column="$\\frac$", bootstrap=0)
    assert (tmp_path / "o" / "reliability.png").read_bytes()[:8] == PNG


def test_names_of_files_may_be_no_text(predictions: Path, labels: Labels, tmp_path: Path) -> None:
    table, given = (tmp_path / os.fsdecode(name) for name in (b"p\xff.tsv", b"l\xff\x1b.tsv"))
    table.write_bytes(predictions.read_bytes())
    given.write_bytes(labels("a 1", "b 0").read_bytes())
    evaluate(table, given, tmp_path / "out", bootstrap=0)
    asked = json.loads((tmp_path / "out" / "evaluation.json").read_bytes())["asked"]
    assert asked["predictions"] == f"{tmp_path}/p\\xff.tsv"


def test_failures_are_one_line(predictions: Path, tmp_path: Path) -> None:
    done = run("evaluate", predictions, tmp_path / "nowhere.tsv")
    assert done.returncode == 1
    assert done.stderr.startswith("virnucpro: error: ")
    assert done.stderr.count("\n") == 1


def test_without_calls_the_table_shows_those_at_one_half(tmp_path: Path, labels: Labels) -> None:
    table = write_table(tmp_path / "p.tsv", "record length p_virus", "a 300 0.9", "b 300 0.2")
    told = CliRunner().invoke(app, ["evaluate", str(table), str(labels("a 1", "b 0"))])
    assert told.exit_code == 0
    assert "MCC at one half" in told.output
    assert "at the call" not in told.output


def test_calls_are_those_of_the_classifier() -> None:
    assert set(CALLS) == set(CALL_NAMES)
