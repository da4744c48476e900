"""`virnucpro report`, and the report at the end of `virnucpro predict`."""

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import virnucpro
from made_run import write_regions
from prediction.report.conftest import RunOf
from processes import EXAMPLES, run
from virnucpro.errors import RunError, SettingsError
from virnucpro.prediction.report.explanations import share
from virnucpro.prediction.report.page import _json


def test_predict_announces_and_draws_it_unless_told_not_to(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("predict", EXAMPLES[0], "-o", out, "--no-report")
    assert done.returncode == 0
    assert "report.html" not in done.stderr
    assert not (out / "report.html").exists()
    written = (out / "records.tsv").stat().st_mtime_ns
    done = run("predict", EXAMPLES[0], "-o", out, report=True)
    assert "report.html" in done.stderr.partition("already finished")[0]
    assert "reads.fastq.gz" in (out / "report.html").read_text()
    assert (out / "records.tsv").stat().st_mtime_ns == written


def test_tables_written_anew_get_a_new_report(examples: Path) -> None:
    (examples / "chunks.tsv").unlink()
    (examples / "report.html").write_text("of the tables before")
    virnucpro.predict(EXAMPLES, examples, device="cpu")
    assert "of the tables before" not in (examples / "report.html").read_text()


def test_it_says_what_the_run_found(examples: Path) -> None:
    summary = json.loads((examples / "summary.json").read_bytes())
    page = re.sub(r"<svg.*?</svg>", "", (examples / "report.html").read_text(), flags=re.DOTALL)
    assert f"{summary['calls']['virus']} of {summary['records']} records" in page
    for words in (
        "Some calls are false; how many to expect is said below",
        "% of the scored records are viral (estimated from the run).",
        f"bundle {summary['bundle']}", "reads.fastq.gz", "contigs.fasta",
        "has not been validated as a diagnostic method",
        "One bacterial or eukaryotic gene in seven is called virus",
    ):  # fmt: skip
        assert words in page
    assert page.count("<tr id=") == summary["calls"]["virus"]


def test_it_asks_for_no_other_file(examples: Path) -> None:
    page = unescape((examples / "report.html").read_text())
    assert "default-src 'none'" in page
    assert not re.search(r"<(img|link|iframe|object|embed|base)\b|\bsrc=|@import|url\(", page)
    assert not re.search(r'\sstyle="|\son\w+="', page)


def test_drawn_again_it_is_the_same(examples: Path, tmp_path: Path) -> None:
    page = tmp_path / "again.html"
    done = run("report", examples, "-o", page)
    assert done.returncode == 0
    assert done.stderr == f"wrote {page}\n"
    assert page.read_bytes() == (examples / "report.html").read_bytes()


def test_probabilities_and_gc_are_shown_where_there_are_some(run_of: RunOf) -> None:
    plain = run_of({"record": "a"}, name="plain")
    known = run_of(
        {"record": "a", "probability": 0.87, "fdr": 0.13, "gc": 0.42},
        {"record": "b", "scores": [0.2], "gc": 0.61},
        name="known",
    )
    path = known / "summary.json"
    summary = json.loads(path.read_bytes())
    path.write_text(json.dumps(
        summary
        | {"calibrated": True, "prevalence": 0.05, "prevalence_estimated": True}
        | {"records_expected_viral": 1.2}
    ))  # fmt: skip
    without, full = (virnucpro.report(out).read_text() for out in (plain, known))
    assert "with <code>--prevalence SHARE</code>" not in full
    path.write_text(
        path.read_text().replace('"prevalence_estimated": true', '"prevalence_estimated": false')
    )
    assert "with <code>--prevalence SHARE</code>" in virnucpro.report(known).read_text()
    for words in ("probability</button>", "FDR", "G and C"):
        assert words not in without.replace("<span", "</button><span")
        assert words in full.replace("<span", "</button><span")
    assert "It holds if 5.0\u00a0% of the scored records are viral (estimated" in full
    assert "About 13.0\u00a0% of those called virus are expected to be false" in full
    assert "A score is not a probability" in without


@pytest.mark.parametrize("records", [[], [{"record": "closed", "scores": [None]}]])
def test_a_run_that_found_nothing_has_a_report(
    run_of: RunOf, records: list[dict[str, object]]
) -> None:
    out = run_of({"record": "other", "scores": [0.1]}, *records)
    assert "No record was called virus" in virnucpro.report(out).read_text()


def test_a_run_says_that_it_looked_for_regions_and_found_none(run_of: RunOf) -> None:
    out = run_of({"record": "long", "scores": [0.1] * 12}, {"record": "short"})
    said = "Of 1 record of 10 chunks or more none has a viral region inside"
    assert said not in virnucpro.report(out).read_text()
    write_regions(out)
    text = virnucpro.report(out).read_text()
    assert said in text
    assert "Viral regions inside records" not in text


def test_runs_beside_a_sheet_are_compared(run_of: RunOf, tmp_path: Path) -> None:
    for name in ("second", "first"):
        run_of({"record": name}, name=name)
    (tmp_path / "samples.tsv").write_text("sample\tinput\n")
    page = virnucpro.report(tmp_path)
    assert page == tmp_path / "report.html"
    text = page.read_text()
    assert text.index('<th scope="row">first') < text.index('<th scope="row">second')


def test_runs_that_differ_are_compared_with_care(run_of: RunOf, tmp_path: Path) -> None:
    runs = [run_of({"record": "a"}, name=name) for name in ("one", "two")]
    out = tmp_path / "both.html"
    assert "Compare with care" not in virnucpro.report(runs, out).read_text()
    path = runs[1] / "run.json"
    now = '"write": "other", "bam": true, "chunk_length": 300'  # the first two move no score
    path.write_text(path.read_text().replace('"chunk_length": 500', now))
    assert "runs differ in bases in a chunk." in virnucpro.report(runs, out).read_text()


def test_a_directory_whose_name_is_not_utf_8_has_a_report(run_of: RunOf, tmp_path: Path) -> None:
    out = run_of({"record": "a"}).rename(tmp_path / os.fsdecode(b"\xff"))
    assert r"Which records are viral: \xff" in virnucpro.report(out).read_text()


def test_runs_of_one_name_are_told_apart(run_of: RunOf, tmp_path: Path) -> None:
    runs = [run_of({"record": "a"}, name=f"{place}/out") for place in ("here", "there")]
    page = virnucpro.report(runs, tmp_path / "both.html").read_text()
    assert all(f'<th scope="row">{out}' in page for out in runs)


def _unfinished(out: Path) -> None:
    path = out / "run.json"
    path.write_text(path.read_text().replace('"finished",', '"unfinished",'))


def _of_embed(out: Path) -> None:
    path = out / "run.json"
    path.write_text(path.read_text().replace('"predict"', '"embed"'))


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no run": (lambda out: (out / "run.json").unlink(), "holds no run of virnucpro"),
    "damaged": (lambda out: (out / "run.json").write_text("{"), "run.json: cannot be read"),
    "unfinished": (_unfinished, "is not finished; rerun the command that made it to continue"),
    "embed": (_of_embed, "a run of virnucpro embed, which has no report"),
    "summary": (lambda out: (out / "summary.json").write_text("{}"), "summary.json: cannot be"),
    "tables": (lambda out: (out / "chunks.tsv").unlink(), "chunks.tsv: cannot be read"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_reported_is_one_line(run_of: RunOf, what: str) -> None:
    out = run_of({"record": "a", "scores": [0.9, 0.9]})
    spoil, said = REFUSALS[what]
    spoil(out)
    with pytest.raises(RunError, match=re.escape(said)) as error:
        virnucpro.report(out)
    assert str(error.value).startswith(str(out))
    assert not (out / "report.html").exists()


def test_refusals_on_the_command_line(run_of: RunOf, tmp_path: Path) -> None:
    out = run_of({"record": "a"})
    mine = tmp_path / "thesis.html"
    mine.write_text("<p>mine")
    for arguments, said in {
        (out, "-o", mine): f"{mine}: exists and is not a report of virnucpro",
        (out, out): "several runs: give -o FILE",
        (tmp_path / "none",): "holds no run of virnucpro",
        (out, "--bundle", tmp_path): "bundle",
    }.items():
        done = run("report", *arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert mine.read_text() == "<p>mine"


def test_a_sheet_without_runs_and_no_run_at_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "samples.tsv").write_text("sample\n")
    with pytest.raises(RunError, match=r"has a samples.tsv but no run"):
        virnucpro.report(tmp_path)
    with pytest.raises(SettingsError, match="no run: give the output directory"):
        virnucpro.report([])


def test_a_card_is_shown_as_text_of_a_page(examples: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    source = Path(virnucpro.__file__).parent / "bundles" / "compact"
    for path in source.iterdir():
        (bundle / path.name).write_bytes(path.read_bytes())
    (bundle / "README.md").write_text(
        "# Mine\n\n<script>alert(1)</script> ![x](http://x.example/x.png) "
        "[y](javascript:alert(2))\n\n| a | b |\n|:--|--:|\n| 1 | 2 |\n"
    )
    text = virnucpro.report(examples, tmp_path / "mine.html", bundle=bundle).read_text()
    assert "<h3>Mine</h3>" in text
    assert "&lt;script&gt;alert(1)" in text
    assert '<a href="javascript' not in text
    assert "<td>2</td>" in text


def test_gzipped_tables_give_the_same(examples: Path, tmp_path: Path) -> None:
    packed = tmp_path / "examples"
    packed.mkdir()
    for name in ("records.tsv", "chunks.tsv"):
        (packed / f"{name}.gz").write_bytes(gzip.compress((examples / name).read_bytes()))
    for name in ("summary.json", "regions.bed", "methods.txt"):
        shutil.copy(examples / name, packed)
    settings_of = (examples / "run.json").read_text()
    (packed / "run.json").write_text(
        settings_of.replace('"compressed": false', '"compressed": true')
    )
    before, after = ("compressed tables</dt><dd>no", "compressed tables</dt><dd>yes")
    plain, gzipped = (virnucpro.report(out).read_text() for out in (examples, packed))
    assert before in plain
    assert gzipped == plain.replace(before, after)


@settings(max_examples=50)
@given(st.lists(st.text() | st.floats(allow_nan=False)))
def test_data_cannot_end_the_script_they_stand_in(content: list[object]) -> None:
    text = str(_json(content))
    assert not set("<>&") & set(text)
    assert json.loads(text) == content


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_few_are_not_said_to_be_none(part: int, more: int) -> None:
    said = share(part, part + more)
    assert said.startswith("0.0") == (part == 0)
    assert not said.startswith("100")


def test_palettes_are_told_apart() -> None:
    css = (Path(virnucpro.__file__).parent / "prediction/report/page.css").read_text()
    palettes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in css.split("@media")]
    for colours in palettes[:2]:
        for text in ("ink", "soft", "link"):
            for ground in ("paper", "tint"):
                assert contrast(colours[text], colours[ground]) >= 4.5
        for mark in ("virus", "other", "unscored", "dense", "edge"):
            assert contrast(colours[mark], colours["paper"]) >= 3
        assert distance(colours["virus"], colours["other"]) > 0.35


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""
    low, high = sorted(
        sum(w * c for w, c in zip(_LIGHT, linear(x), strict=True)) for x in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


def distance(one: str, other: str) -> float:
    """Return how far apart two colours are for the eye without red or green cones that sees least.

    The matrices are those of Machado, Oliveira and Fernandes (2009).
    """
    found = []
    for matrix in _BLIND.values():
        seen = [
            [sum(w * c for w, c in zip(row, linear(x), strict=True)) for row in matrix]
            for x in (one, other)
        ]
        found.append(sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5)
    return float(min(found))


def linear(colour: str) -> list[float]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


_LIGHT = (0.2126, 0.7152, 0.0722)
_BLIND = {
    "no red cones": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no green cones": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}  # fmt: skip
