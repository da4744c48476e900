"""What the schemas say is what a run writes."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from made_shards import Chunk, Frame, Piece, merge
from processes import EXAMPLES, ROOT, run
from virnucpro.cli import schema as command
from virnucpro.cli.schema_files import SCHEMAS, documents
from virnucpro.prediction.outputs.columns import TABLES, TABLES_VERSION, Column
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.sequences.records import printable_id

OUTPUTS = (ROOT / "docs" / "outputs.md").read_text()


@pytest.fixture(scope="module")
def of_predict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run in which some records have no score."""
    out = tmp_path_factory.mktemp("predict") / "out"
    done = run("predict", EXAMPLES[1], "-o", out, "--bundle", "compact-pair")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def of_embed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("embed")
    (directory / "proteins.fasta").write_text(">one\nMKVLA\n>two\nMMGHHKR\n")
    done = run(
        "embed", directory / "proteins.fasta", "-o", directory / "out",
        "--model", "compact-pair:protein",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return directory / "out"


def test_committed_schemas_are_what_the_code_says() -> None:
    committed = {path.name: path.read_bytes() for path in SCHEMAS.iterdir()}
    assert committed == documents(), "python -m virnucpro.cli.schema_files writes them again"


def test_the_command_prints_each_of_them() -> None:
    assert set(command._FILES.values()) == documents().keys()
    for name, file_name in command._FILES.items():
        done = run("schema", name)
        assert (done.returncode, done.stdout.encode()) == (0, documents()[file_name])
    done = run("schema", "nothing")
    assert done.returncode == 2
    assert "tables, summary" in done.stderr


def test_every_table_is_described(of_predict: Path) -> None:
    assert {path.name for path in of_predict.glob("*.tsv")} == TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_tables_hold_what_their_columns_say(of_predict: Path, name: str) -> None:
    table = pl.read_csv(
        of_predict / name, separator="\t", infer_schema=False, quote_char=None, null_values=[""]
    )
    assert table.columns == [column.name for column in TABLES[name]]
    assert len(table) > 50
    for column in TABLES[name]:
        assert_fits(column, table[column.name])


def assert_fits(column: Column, texts: pl.Series) -> None:
    assert column.can_be_empty or not texts.null_count()
    there = texts.drop_nulls()
    if column.words:
        assert set(there) <= set(column.words)
    if column.type == "count":
        assert (there.cast(pl.Int64) >= 0).all()
    elif column.type in ("number", "share"):
        numbers = there.cast(pl.Float64)
        assert numbers.is_finite().all()
        assert column.type == "number" or numbers.is_between(0, 1).all()


def _values(part: ScoredShard) -> pl.Series:
    return part.records.ids


def test_values_that_do_not_fit_are_found() -> None:
    for column, text in (
        (Column("a", "count", "", _values), "1.5"),
        (Column("a", "share", "", _values), "1.000001"),
        (Column("a", "text", "", _values), None),
        (Column("a", "text", "", _values, words=("virus",)), "Virus"),
    ):
        with pytest.raises((AssertionError, pl.exceptions.InvalidOperationError)):
            assert_fits(column, pl.Series([text], dtype=pl.String))


def test_the_tables_schema_is_for_their_columns() -> None:
    package = json.loads(documents()["tables.json"])
    assert package["version"] == str(TABLES_VERSION)
    for resource in package["resources"]:
        columns = TABLES[resource["path"]]
        for field, column in zip(resource["schema"]["fields"], columns, strict=True):
            assert field["name"] == column.name
            assert field["constraints"]["required"] == (not column.can_be_empty)


def test_ids_that_begin_with_a_quotation_mark_are_read_as_the_tables_schema_says(
    tmp_path: Path,
) -> None:
    ids = ['"chr1', "it's", '"whole"', '""', "\x1b", "\0"]
    chunk = Chunk(0, 9, [Frame("F1", 3, 0.5, 0.5)])
    pieces = [Piece(n, printable_id(name), 9, [chunk], "") for n, name in enumerate(ids)]
    merge([pieces], Outputs(tmp_path))
    for resource in json.loads(documents()["tables.json"])["resources"]:
        dialect = resource["dialect"]
        with (tmp_path / resource["path"]).open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter=dialect["delimiter"], quotechar=dialect["quoteChar"])
            header, *found = rows
        assert header == [field["name"] for field in resource["schema"]["fields"]]
        assert [row[0] for row in found] == [*ids[:4], "\\x1b", "\\x00"]


@pytest.mark.parametrize(
    ("run_of", "file_name", "schema_name"),
    [
        ("of_predict", "summary.json", "summary.schema.json"),
        ("of_predict", "run.json", "run.schema.json"),
        ("of_embed", "summary.json", "embed-summary.schema.json"),
        ("of_embed", "run.json", "run.schema.json"),
    ],
)
def test_files_fit_their_schemas(
    run_of: str, file_name: str, schema_name: str, request: pytest.FixtureRequest
) -> None:
    out: Path = request.getfixturevalue(run_of)
    content = json.loads((out / file_name).read_bytes())
    schema = json.loads((SCHEMAS / schema_name).read_bytes())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(content)
    described = top(schema)["properties"]
    assert content.keys() == described.keys()
    assert all(field["description"] for field in described.values())
    with pytest.raises(jsonschema.ValidationError, match="'format' is a required property"):
        validator.validate({key: content[key] for key in content if key != "format"})
    validator.validate({**content, "added later": 1})


def top(schema: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    return part


def test_the_summary_says_the_version_of_the_tables(of_predict: Path) -> None:
    assert json.loads((of_predict / "summary.json").read_bytes())["tables"] == TABLES_VERSION
    assert f"This page is about version {TABLES_VERSION} of the tables" in OUTPUTS


@pytest.mark.parametrize("name", TABLES)
def test_the_page_on_outputs_lists_every_column(name: str) -> None:
    rows = OUTPUTS.split(f"| `{name}` | |\n|---|---|\n")[1].split("\n\n")[0]
    first_cells = [row.split("|")[1] for row in rows.split("\n")]
    listed = [column for cell in first_cells for column in re.findall("`(.+?)`", cell)]
    assert listed == [column.name for column in TABLES[name]]
