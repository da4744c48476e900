"""Made embeddings, and files of them read with each format's own library."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers
from numpy.typing import NDArray
from pyarrow import parquet
from safetensors import safe_open
from safetensors.numpy import load_file

from virnucpro.embedding.formats.any_format import (
    FORMATS,
    Part,
    Shape,
    open_embeddings,
    write_embeddings,
)

METADATA = {"bundle": "compact", "settings": '{"precision": "fp16", "läßt": "ünïcode"}', "none": ""}


class Written(NamedTuple):
    """Everything in a file."""

    ids: list[str]
    lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    values_RD: NDArray[np.floating[Any]]
    metadata: dict[str, str]


def shape_of(parts: list[Part], width: int, dtype: str, *, is_ragged: bool) -> Shape:
    return Shape(
        sequences=sum(len(part.ids) for part in parts),
        rows=sum(len(part.values_RD) for part in parts),
        width=width,
        longest_id=max((len(id_) for part in parts for id_ in part.ids), default=0),
        dtype=np.dtype(dtype),
        is_ragged=is_ragged,
    )


def joined(parts: list[Part], shape: Shape) -> Written:
    """Return what a file of these parts has to hold."""
    none = Part([], np.empty(0, int), np.empty(0, int), np.empty((0, shape.width), shape.dtype))
    ids, lengths, counts, values = zip(none, *parts, strict=True)
    return Written(
        [id_ for some in ids for id_ in some],
        np.concatenate(lengths),
        np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        np.concatenate(values),
        METADATA,
    )


@st.composite
def made_parts(draw: st.DrawFn, dtype: str, *, is_ragged: bool) -> tuple[list[Part], Shape]:
    """Draw parts; ids are any text with repeats, values any bits."""
    letters = st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"])
    ids = st.one_of(st.text(letters, min_size=1, max_size=12), st.sampled_from(["r1", "r2", "é/1"]))
    width = draw(st.integers(1, 5))
    bits = f"<u{np.dtype(dtype).itemsize}"
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        names = draw(st.lists(ids, max_size=6))
        counts = [draw(st.integers(0, 4)) if is_ragged else 1 for _ in names]
        values = draw(numbers.arrays(bits, (sum(counts), width))).view(dtype)
        lengths = [draw(st.integers(0, 2**40)) for _ in names]
        parts.append(Part(names, np.array(lengths, np.int64), np.array(counts, np.int64), values))
    return parts, shape_of(parts, width, dtype, is_ragged=is_ragged)


def vectors(count: int = 3, width: int = 4, *, is_ragged: bool = False) -> tuple[list[Part], Shape]:
    """Return one part with `count` sequences, of 0, 1, 2 ... rows when ragged."""
    counts = np.arange(count) if is_ragged else np.ones(count, np.int64)
    values = np.random.default_rng(0).random((counts.sum(), width), np.float32)
    parts = [Part([f"r{n}" for n in range(count)], np.arange(count) + 90, counts, values)]
    return parts, shape_of(parts, width, "<f4", is_ragged=is_ragged)


def write(directory: Path, format_: str, parts: list[Part], shape: Shape) -> Path:
    path = directory / FORMATS[format_]
    write_embeddings(path, format_, shape, METADATA, parts)
    return path


def read_ours(path: Path) -> Written:
    file = open_embeddings(path)
    ids = [id_ for id_, _ in file]
    rows = [np.atleast_2d(values) for _, values in file]
    lengths = [part.lengths for part in file.parts()]
    assert len(file) == len(ids)
    assert all(values.ndim == 1 + file.is_ragged for _, values in file)
    return Written(
        ids,
        np.concatenate([np.empty(0, np.int64), *lengths]),
        np.cumsum([0, *map(len, rows)]),
        np.concatenate([np.empty((0, file.width), file.dtype), *rows]),
        file.metadata,
    )


def read_parquet(path: Path) -> Written:
    table = parquet.read_table(path).combine_chunks()
    column = table["embedding"]
    lists = column.to_pylist()
    is_ragged = column.type.num_fields and hasattr(column.type.value_type, "value_type")
    row = column.type.value_type if is_ragged else column.type
    dtype = row.value_type.to_pandas_dtype()
    rows = [vector for vectors in lists for vector in vectors] if is_ragged else lists
    return Written(
        table["id"].to_pylist(),
        table["length"].to_numpy(),
        np.cumsum([0, *(len(some) if is_ragged else 1 for some in lists)]),
        np.array(rows, dtype).reshape(-1, row.list_size),
        {key.decode(): value.decode() for key, value in table.schema.metadata.items()},
    )


def read_hdf5(path: Path) -> Written:
    with h5py.File(path) as file:
        sequences = len(file["lengths"])
        return Written(
            list(file["ids"].asstr()[:]),
            file["lengths"][:],
            file["offsets"][:] if "offsets" in file else np.arange(sequences + 1),
            file["embeddings"][:],
            dict(file.attrs),
        )


def read_npz(path: Path) -> Written:
    with np.load(path, allow_pickle=False) as file:
        sequences = len(file["lengths"])
        return Written(
            file["ids"].tolist(),
            file["lengths"],
            file["offsets"] if "offsets" in file else np.arange(sequences + 1),
            file["embeddings"],
            json.loads(str(file["metadata"])),
        )


def read_safetensors(path: Path) -> Written:
    tensors = load_file(path)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    sequences = len(tensors["lengths"])
    text = tensors["ids"].tobytes().decode()
    return Written(
        text.split("\n") if sequences else [],
        tensors["lengths"],
        tensors.get("offsets", np.arange(sequences + 1)),
        tensors["embeddings"],
        metadata,
    )


LIBRARIES: dict[str, Callable[[Path], Written]] = {
    "parquet": read_parquet,
    "hdf5": read_hdf5,
    "npz": read_npz,
    "safetensors": read_safetensors,
}


def assert_same(found: Written, expected: Written, *, any_nan: bool = False) -> None:
    assert found.ids == expected.ids
    assert found.metadata == expected.metadata
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    assert found.values_RD.dtype == expected.values_RD.dtype
    assert found.values_RD.shape == expected.values_RD.shape
    if any_nan:  # Python's floats between do not keep the bits of a NaN
        np.testing.assert_array_equal(found.values_RD, expected.values_RD)
    else:
        assert found.values_RD.tobytes() == expected.values_RD.tobytes()
