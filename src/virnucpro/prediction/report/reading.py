"""Tables of a finished run, some rows at a time, so that memory stays flat."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import polars as pl

from virnucpro.errors import RunError, reading
from virnucpro.sequences.decompression import open_content

#: What helps where a table is damaged.
TO_DO = "run predict again, into a new directory"
#: Bytes of text that are read at a time.
_BATCH = 1 << 22

Types: TypeAlias = Mapping[str, type[pl.DataType]]


def batches(
    path: Path,
    needed: Types,
    optional: Types | None = None,
    *,
    header: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the rows of a table in order, with those of the columns asked for that it has.

    Args:
        path: a tab-separated table, plain or compressed.
        needed: the columns that it must have, and their types.
        optional: columns that it may have.
        header: the names of all columns, where no header line says them.

    Raises:
        RunError: when the table is missing, damaged, or lacks a column.
    """
    types = {**needed, **(optional or {})}
    with (
        reading(path, TO_DO, RunError),
        open_content(path) as file,
    ):
        if header is None:
            header = file.readline().decode().rstrip("\n").split("\t")
        missing = [name for name in needed if name not in header]
        if missing:
            raise RunError(f"{path}: has no column {missing[0]}; {TO_DO}")
        places = [i for i, name in enumerate(header) if name in types]
        while text := file.read(_BATCH):
            text += file.readline()
            yield pl.read_csv(
                io.BytesIO(text),
                has_header=False,
                separator="\t",
                quote_char=None,
                columns=places,
                schema={
                    name: types.get(name, pl.String) for name in header
                },
            )  # fmt: skip
