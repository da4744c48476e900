"""Descriptions of the output files for programs, made from the code that writes the files.

    python -m virnucpro.cli.schema_files

writes them into the folder `schemas/`, from which `virnucpro schema` prints them.
"""

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec

from virnucpro.embedding.outputs import EmbeddingSummary
from virnucpro.files import as_json
from virnucpro.prediction.outputs.columns import TABLES, TABLES_VERSION, Column
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.runs.run import RunManifest

SCHEMAS = Path(__file__).with_name("schemas")

#: File name of a JSON Schema -> the file that it describes, and the type of its content.
_STRUCTS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "summary.schema.json": ("summary.json of predict", Summary),
    "embed-summary.schema.json": ("summary.json of embed", EmbeddingSummary),
    "run.schema.json": ("run.json", RunManifest),
}
_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "count": {"type": "integer", "minimum": 0},
    "number": {"type": "number"},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
}
#: A character that no table contains: the format cannot say that there are no quotes.
_NO_QUOTE = "\1"
#: `name: meaning`, on several lines if the next ones are indented further.
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def documents() -> dict[str, bytes]:
    """Return the content of every file of `schemas/`, by name."""
    found: dict[str, Any] = {"tables.json": table_schemas()}
    for name, (title, struct) in _STRUCTS.items():
        found[name] = json_schema(title, struct)
    return {name: as_json(content) for name, content in found.items()}


def table_schemas() -> dict[str, Any]:
    """Return all tables as a Frictionless Data Package."""
    return {
        "name": "virnucpro",
        "title": "Tables of virnucpro predict",
        "version": str(TABLES_VERSION),
        "resources": [
            {
                "name": file_name.removesuffix(".tsv"),
                "path": file_name,
                "format": "tsv",
                "mediatype": "text/tab-separated-values",
                "encoding": "utf-8",
                "dialect": {"delimiter": "\t", "quoteChar": _NO_QUOTE, "doubleQuote": False},
                "schema": {"fields": [_field(x) for x in columns], "missingValues": [""]},
            }
            for file_name, columns in TABLES.items()
        ],
    }


def _field(column: Column) -> dict[str, Any]:
    constraints = {key: value for key, value in _TYPES[column.type].items() if key != "type"}
    if column.words:
        constraints["enum"] = list(column.words)
    return {
        "name": column.name,
        "type": _TYPES[column.type]["type"],
        "description": column.meaning,
        "constraints": {"required": not column.can_be_empty, **constraints},
        "since": column.since,
    }


def json_schema(title: str, struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of a file, with the texts of the docstrings.

    Other fields are allowed, so that files of later versions with more fields fit the schema.

    Args:
        title: title of the schema.
        struct: type of the content of the file.
    """
    (schema,), parts = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    written_as = {field.name: field.encode_name for field in msgspec.structs.fields(struct)}
    for part in parts.values():
        part.pop("additionalProperties", None)
        text = inspect.cleandoc(part["description"])
        part["description"] = " ".join(text.partition("\n\n")[0].split())
        for attribute, meaning in _ATTRIBUTE.findall(text):
            name = written_as.get(attribute, attribute)
            field = part["properties"][name]
            if "anyOf" in field:  # versions of msgspec differ in where they put null
                field["anyOf"].sort(key=lambda kind: kind.get("type") == "null")
            part["properties"][name] = {**field, "description": " ".join(meaning.split())}
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": title, **schema, "$defs": parts}


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for file_name, content in documents().items():
        (SCHEMAS / file_name).write_bytes(content)
