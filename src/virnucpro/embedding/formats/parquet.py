"""Parquet: one row per sequence, with the columns `id`, `length` and `embedding`.

`embedding` is a fixed_size_list of D numbers or, if ragged, a list of such lists.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from virnucpro.embedding.formats.interface import (
    BYTES_AT_ONCE,
    DTYPES,
    Contents,
    Part,
    Shape,
    row_groups,
    rows_in,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

#: Largest number of bytes of values in a row group, which holds at least one sequence.
ROW_GROUP_BYTES = 64 << 20


def write(path: Path, shape: Shape, metadata: Mapping[str, str], parts: Iterable[Part]) -> None:
    """Write a file; see `write_embeddings`. Every part becomes at least one row group."""
    from pyarrow import parquet  # noqa: PLC0415 (needed for this format only)

    schema = _schema(shape.width, shape.dtype, is_ragged=shape.is_ragged).with_metadata(metadata)
    most = rows_in(ROW_GROUP_BYTES, shape.width, shape.dtype)
    # Dictionaries, minima and maxima are of no use for embeddings.
    with parquet.ParquetWriter(path, schema, use_dictionary=False, write_statistics=False) as file:
        for part in parts:
            rows = np.concatenate([[0], np.cumsum(part.counts)])
            for a, b in row_groups(part.counts, most):
                values_RD = part.values_RD[rows[a] : rows[b]]
                group = Part(part.ids[a:b], part.lengths[a:b], part.counts[a:b], values_RD)
                file.write_table(_table(group, schema), row_group_size=b - a)


def _schema(width: int, dtype: np.dtype[np.floating], *, is_ragged: bool) -> "pa.Schema":
    import pyarrow as pa  # noqa: PLC0415 (needed for this format only)

    row = pa.list_(pa.from_numpy_dtype(dtype), width)
    columns = {"id": pa.string(), "length": pa.int64()}
    return pa.schema(columns | {"embedding": pa.list_(row) if is_ragged else row})


def _table(part: Part, schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 (needed for this format only)

    column = schema.field("embedding").type
    is_ragged = pa.types.is_list(column)
    values = pa.array(np.ascontiguousarray(part.values_RD).reshape(-1))
    rows = pa.FixedSizeListArray.from_arrays(
        values, type=column.value_type if is_ragged else column
    )
    if is_ragged:
        offsets = np.concatenate([[0], np.cumsum(part.counts)]).astype(np.int32)
        rows = pa.ListArray.from_arrays(pa.array(offsets), rows, type=column)
    ids = pa.array(part.ids, pa.string())
    return pa.Table.from_arrays([ids, pa.array(part.lengths), rows], schema=schema)


class _File:
    """An open Parquet file; see `OpenFile`."""

    def __init__(self, file: "parquet.ParquetFile") -> None:
        self._file = file

    @property
    def contents(self) -> Contents:
        """The header of the file; ValueError if its columns are not those of embeddings."""
        import pyarrow as pa  # noqa: PLC0415 (needed for this format only)

        schema = self._file.schema_arrow
        row = schema.field("embedding").type
        is_ragged = pa.types.is_list(row)
        row = row.value_type if is_ragged else row
        dtype = np.dtype(row.value_type.to_pandas_dtype())
        expected = _schema(row.list_size, dtype, is_ragged=is_ragged)
        if dtype not in DTYPES or row.list_size < 1 or not schema.equals(expected):
            raise ValueError("its columns are not those of embeddings")
        metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        return Contents(metadata, self._file.metadata.num_rows, row.list_size, dtype, is_ragged)

    def parts(self) -> Iterator[Part]:
        """Read all sequences in order; ValueError if a value or a row is missing."""
        contents = self.contents
        most = rows_in(BYTES_AT_ONCE, contents.width, contents.dtype)
        left = contents.sequences
        for group in range(self._file.num_row_groups):
            for batch in self._file.iter_batches(most, row_groups=[group]):
                left -= len(batch)
                yield _part(batch, contents)
        if left:
            raise ValueError("its number of rows differs from its header")


def _part(batch: "pa.RecordBatch", contents: Contents) -> Part:
    ids, lengths, rows = batch.columns
    counts = np.ones(len(ids), np.int64)
    missing = ids.null_count + lengths.null_count + rows.null_count
    if contents.is_ragged:
        counts = np.diff(rows.offsets.to_numpy()).astype(np.int64)
        rows = rows.flatten()
        missing += rows.null_count
    values = rows.flatten()
    if missing or values.null_count:
        raise ValueError("a value is missing")
    values_RD = values.to_numpy().reshape(-1, contents.width)
    return Part(ids.to_pylist(), lengths.to_numpy(), counts, values_RD)


@contextmanager
def open_file(path: Path) -> Iterator[_File]:
    """Open a file; see `OpenFile`."""
    from pyarrow import parquet  # noqa: PLC0415 (needed for this format only)

    with parquet.ParquetFile(path, pre_buffer=False) as file:
        yield _File(file)
