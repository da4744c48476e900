"""records.tsv, chunks.tsv and frames.tsv: text that other programs read."""

import io
from typing import BinaryIO

import polars as pl

from virnucpro.prediction.outputs.columns import TABLES, Column, rows_of
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.runs.partial_files import PartialFiles


class Table:
    """A sink that writes one table: tab-separated, with a header line.

    Args:
        file: the file; it gets the header at once, so that an empty table has one too.
        columns: columns of the table.
    """

    def __init__(self, file: BinaryIO, columns: tuple[Column, ...]) -> None:
        self._file, self._columns = file, columns
        file.write(("\t".join(column.name for column in columns) + "\n").encode())

    def add(self, part: ScoredShard) -> None:
        """Append the rows of a shard."""
        append_rows(self._file, rows_of(part, self._columns))

    def finish(self) -> None:
        """Do nothing: the table is complete."""


def all_tables(files: PartialFiles, outputs: Outputs) -> list[Table]:
    """Return a sink for each table."""
    names = ("frames", "chunks", "records")
    return [Table(files.open(outputs.path(name)), TABLES[f"{name}.tsv"]) for name in names]


def append_rows(file: BinaryIO, rows: pl.DataFrame) -> None:
    """Append rows to a table; numbers get 6 decimals, missing values are empty.

    They pass through memory, because Polars does not say which file it cannot write.
    """
    content = io.BytesIO()
    rows.write_csv(
        content, separator="\t", include_header=False, float_precision=6, quote_style="never"
    )
    file.write(content.getbuffer())
