"""Files of embeddings: our reader and the library of each format return what was written."""

import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from made_embeddings import (
    LIBRARIES,
    METADATA,
    assert_same,
    joined,
    made_parts,
    read_ours,
    shape_of,
    vectors,
    write,
)
from virnucpro.embedding.formats import arrays
from virnucpro.embedding.formats import parquet as parquet_format
from virnucpro.embedding.formats.any_format import (
    FORMATS,
    Part,
    Shape,
    open_embeddings,
    write_embeddings,
)
from virnucpro.errors import InputError, SettingsError

every_format = pytest.mark.parametrize("format_", FORMATS)
raggedness = pytest.mark.parametrize("is_ragged", [False, True], ids=["vectors", "ragged"])


@every_format
@raggedness
@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_what_goes_in_comes_out(
    tmp_path: Path, data: st.DataObject, format_: str, dtype: str, *, is_ragged: bool
) -> None:
    parts, shape = data.draw(made_parts(dtype, is_ragged=is_ragged))
    path = write(tmp_path, format_, parts, shape)
    expected = joined(parts, shape)
    assert_same(read_ours(path), expected)
    assert_same(LIBRARIES[format_](path), expected, any_nan=format_ == "parquet")
    file = open_embeddings(path)
    assert (file.format, file.is_ragged, file.width) == (format_, is_ragged, shape.width)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@every_format
@raggedness
def test_reading_in_small_parts_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, *, is_ragged: bool
) -> None:
    parts, shape = vectors(50, is_ragged=is_ragged)
    monkeypatch.setattr(parquet_format, "ROW_GROUP_BYTES", 400)
    path = write(tmp_path, format_, parts, shape)
    for module in (arrays, parquet_format):
        monkeypatch.setattr(module, "BYTES_AT_ONCE", 160)
    monkeypatch.setattr(arrays, "SEQUENCES_AT_ONCE", 7)
    assert_same(read_ours(path), joined(parts, shape))
    assert len(list(open_embeddings(path).parts())) > 4


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, shape = vectors(50)
    monkeypatch.setattr(parquet_format, "ROW_GROUP_BYTES", 160)
    metadata = parquet.ParquetFile(write(tmp_path, "parquet", parts, shape)).metadata
    assert {metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)} == {10}


@every_format
@raggedness
def test_no_sequences_make_an_empty_file(tmp_path: Path, format_: str, *, is_ragged: bool) -> None:
    shape = shape_of([], 8, "<f2", is_ragged=is_ragged)
    path = write(tmp_path, format_, [], shape)
    for found in (read_ours(path), LIBRARIES[format_](path)):
        assert_same(found, joined([], shape))


@every_format
def test_the_same_parts_give_the_same_bytes(tmp_path: Path, format_: str) -> None:
    parts, shape = vectors(is_ragged=True)
    first = write(tmp_path, format_, parts, shape).read_bytes()
    assert write(tmp_path, format_, parts, shape).read_bytes() == first


@every_format
@raggedness
def test_memory_stays_flat(tmp_path: Path, format_: str, *, is_ragged: bool) -> None:
    """200 MB in 50 parts. The memory of NumPy arrays is measured, that of Arrow and HDF5 is not."""
    count, width = 1000, 1024
    rows = 2 if is_ragged else 1
    values = np.random.default_rng(0).random((count, width), np.float32)

    def parts() -> Iterator[Part]:
        sequences = count // rows
        ids = [f"read{n}" for n in range(sequences)]
        for _ in range(50):
            lengths = np.full(sequences, 300)
            yield Part(ids, lengths, np.full(sequences, rows), values.copy())

    shape = Shape(50 * count // rows, 50 * count, width, 8, np.dtype("<f4"), is_ragged)
    path = tmp_path / FORMATS[format_]
    assert sum(1 for _ in parts()) == 50
    tracemalloc.start()
    try:
        write_embeddings(path, format_, shape, METADATA, parts())
        peak_writing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        total = sum(row.size for _, row in open_embeddings(path))
        peak_reading = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        path.unlink(missing_ok=True)
    assert total == 50 * count * width
    assert max(peak_writing, peak_reading) < 40e6


@every_format
def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, format_: str) -> None:
    parts, shape = vectors()

    def broken() -> Iterator[Part]:
        yield from parts
        raise OSError("the disk is gone")

    path = tmp_path / FORMATS[format_]
    with pytest.raises(OSError, match="the disk is gone"):
        write_embeddings(path, format_, shape, METADATA, broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        Part(["a"], np.ones(1, int), np.ones(1, int), np.zeros((1, 4), np.float32)),
        Part(["a"] * 3, np.ones(2, int), np.ones(3, int), np.zeros((3, 4), np.float32)),
        Part(["a"] * 3, np.ones(3, int), np.ones(3, int), np.zeros((3, 5), np.float32)),
        Part(["a"] * 3, np.ones(3, int), np.ones(3, int), np.zeros((3, 4), np.float64)),
        Part(["a"] * 3, np.ones(3, int), np.array([0, 2, 1]), np.zeros((3, 4), np.float32)),
        Part(["long"] * 3, np.ones(3, int), np.ones(3, int), np.zeros((3, 4), np.float32)),
        Part(["\n"] * 3, np.ones(3, int), np.ones(3, int), np.zeros((3, 4), np.float32)),
    ],
)
def test_parts_of_another_shape_are_an_error(tmp_path: Path, wrong: Part) -> None:
    with pytest.raises(ValueError, match=r"not|other|id|exactly"):
        write(tmp_path, "npz", [wrong], vectors()[1])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    parts, shape = vectors()
    with pytest.raises(SettingsError, match="format csv: not one of parquet, hdf5"):
        write_embeddings(tmp_path / "x.csv", "csv", shape, {}, parts)
    with pytest.raises(InputError, match=r"record a\\x00: .* NUL"):
        write(tmp_path, "hdf5", [parts[0]._replace(ids=["a\0", "b", "c"])], shape)


@every_format
def test_anndata(tmp_path: Path, format_: str) -> None:
    (part,), _ = vectors(5)
    parts = [part._replace(ids=["a", "a", "a-1", "b", "a"])]
    shape = shape_of(parts, 4, "<f4", is_ragged=False)
    data = open_embeddings(write(tmp_path, format_, parts, shape)).to_anndata()
    assert data.obs_names.tolist() == ["a", "a-2", "a-1", "b", "a-3"]
    assert data.obs["length"].tolist() == parts[0].lengths.tolist()
    assert data.X.tobytes() == parts[0].values_RD.tobytes()
    assert data.uns["virnucpro"] == METADATA


def test_anndata_of_no_sequences(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet", [], shape_of([], 8, "<f2", is_ragged=False))
    assert open_embeddings(path).to_anndata().shape == (0, 8)


def test_anndata_takes_a_vector_a_sequence(tmp_path: Path) -> None:
    path = write(tmp_path, "npz", *vectors(is_ragged=True))
    with pytest.raises(InputError, match=r"embeddings\.npz: .* one per sequence"):
        open_embeddings(path).to_anndata()


def test_anndata_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    file = open_embeddings(write(tmp_path, "npz", *vectors()))
    with pytest.raises(SettingsError, match=r"needs anndata; pip install 'virnucpro\[anndata\]'"):
        file.to_anndata()
