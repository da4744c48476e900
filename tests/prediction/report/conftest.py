"""Finished runs to report on: real ones, and made-up tables."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import virnucpro
from made_run import write_ends, write_run
from prediction.report.browsing import opened
from processes import EXAMPLES

RunOf = Callable[..., Path]


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of the examples with its report."""
    out = tmp_path_factory.mktemp("report") / "examples"
    virnucpro.predict(EXAMPLES, out, device="cpu")
    return out


@pytest.fixture(scope="session")
def metagenome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a made-up run of 100,000 reads and 2,000 contigs."""
    return write_run(tmp_path_factory.mktemp("report") / "metagenome", 100_000, 2_000)


@pytest.fixture(scope="session")
def report(metagenome: Path) -> Path:
    """Return the report of the made-up run."""
    return virnucpro.report(metagenome)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a Chromium."""
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield program
        program.close()


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """Open the report of the made-up run."""
    with opened(browser, report) as page:
        yield page


@pytest.fixture
def run_of(tmp_path: Path) -> RunOf:
    """Return a function that writes a run of the given records, with a chunk for each score."""

    def write(*records: dict[str, Any], name: str = "made", **columns: pl.Expr) -> Path:
        out = tmp_path / name
        out.mkdir(parents=True)
        rows = [_record(**({"scores": [0.9]} | record)) for record in records]
        chunks = [
            {"record": row["record"], "start": 500 * i, "end": 500 * (i + 1), "p_virus": score}
            for row, record in zip(rows, records, strict=True)
            for i, score in enumerate(record.get("scores", [0.9]))
        ]
        schema = {"record": pl.String, "start": pl.Int64, "end": pl.Int64, "p_virus": pl.Float64}
        table = pl.DataFrame(rows, infer_schema_length=None).with_columns(**columns)
        write_ends(out, table, len(chunks))
        table.write_csv(out / "records.tsv", separator="\t", quote_style="never")
        pl.DataFrame(chunks, schema=schema).write_csv(
            out / "chunks.tsv", separator="\t", quote_style="never"
        )
        return out

    return write


def _record(record: str, scores: list[float | None], **others: object) -> dict[str, Any]:
    known = [score for score in scores if score is not None]
    p_virus = sum(known) / len(known) if known else None
    call = "unscored" if p_virus is None else "virus" if p_virus > 0.5 else "other"
    return {
        "record": record, "length": 500 * len(scores), "chunks": len(scores), "p_virus": p_virus,
        "call": call, "tier": None if p_virus is None else "moderate",
    } | others  # fmt: skip
