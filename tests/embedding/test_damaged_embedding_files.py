"""Damaged, foreign and hostile files of embeddings are refused in one line."""

import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet
from safetensors.numpy import save_file

from made_embeddings import vectors, write
from virnucpro.embedding.formats.any_format import FORMATS, open_embeddings
from virnucpro.errors import InputError

every_format = pytest.mark.parametrize("format_", FORMATS)
raggedness = pytest.mark.parametrize("is_ragged", [False, True], ids=["vectors", "ragged"])


def refusal(path: Path) -> str:
    """Return the message with which a file is refused."""
    with pytest.raises(InputError) as refused:
        list(open_embeddings(path))
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    return str(refused.value)


@every_format
@raggedness
def test_a_file_that_ends_early_is_refused(
    tmp_path: Path, format_: str, *, is_ragged: bool
) -> None:
    content = write(tmp_path, format_, *vectors(20, is_ragged=is_ragged)).read_bytes()
    path = tmp_path / "short"
    for size in range(0, len(content) - 8, max(1, len(content) // 60)):
        path.write_bytes(content[:size])
        refusal(path)


@pytest.mark.parametrize("format_", ["npz", "parquet", "safetensors"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4),
    is_ragged=st.booleans(),
)
@example(changes=[(324, 127), (236, 127)], is_ragged=False)  # fewer than no rows in Parquet
def test_changed_bytes_are_refused_or_read(
    tmp_path: Path, changes: list[tuple[int, int]], format_: str, *, is_ragged: bool
) -> None:
    """HDF5 is not tested, because its library may crash on hostile bytes."""
    content = bytearray(write(tmp_path, format_, *vectors(5, is_ragged=is_ragged)).read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    path = tmp_path / "changed"
    path.write_bytes(content)
    with suppress(InputError):
        list(open_embeddings(path))


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    assert "No such file" in refusal(path)
    assert "directory" in refusal(tmp_path)
    path.write_text(">r1\nACGT\n")
    assert "not a file of embeddings (parquet, hdf5, npz, safetensors)" in refusal(path)
    parquet.write_table(pa.table({"id": ["a"]}), path)
    refusal(path)
    save_file({"weight": np.zeros(3)}, path)
    refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    refusal(path)
    with path.open("wb") as file:
        np.savez_compressed(file, **read_arrays(tmp_path))  # type: ignore[arg-type]
    assert "compressed" in refusal(path)


def read_arrays(directory: Path) -> dict[str, NDArray[Any]]:
    with np.load(write(directory, "npz", *vectors()), allow_pickle=False) as file:
        return dict(file)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "pickled.npz"
    for name in ("ids", "metadata", "lengths", "embeddings"):
        np.savez(path, **read_arrays(tmp_path) | {name: np.array([{}], dtype=object)})  # type: ignore[arg-type]
        refusal(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("embeddings", np.zeros((2, 4), np.float32)),
        ("embeddings", np.zeros((3, 4))),
        ("embeddings", np.zeros((3, 4), np.float32, order="F")),
        ("embeddings", np.zeros((3, 0), np.float32)),
        ("lengths", np.zeros(3, np.int32)),
        ("ids", np.array(["a", "b"])),
        ("ids", np.zeros(3)),
        ("offsets", np.array([0, 1, 3])),
        ("offsets", np.array([0, 2, 1, 3])),
        ("offsets", np.array([0, 1, 2, 2**62])),
        ("offsets", np.array([1, 1, 2, 3])),
        ("offsets", np.array([0, 1, 2, 2])),
        ("metadata", np.array("[1]")),
        ("metadata", np.array("{")),
    ],
)
def test_contradicting_arrays_are_refused(tmp_path: Path, name: str, array: NDArray[Any]) -> None:
    path = tmp_path / "changed.npz"
    np.savez(path, **read_arrays(tmp_path) | {name: array})  # type: ignore[arg-type]
    refusal(path)


@pytest.mark.parametrize(
    "replace",
    [
        lambda file: file.update(embeddings=h5py.ExternalLink("other.h5", "embeddings")),
        lambda file: file.update(embeddings=h5py.SoftLink("/lengths")),
        lambda file: file.create_dataset("embeddings", (3, 4), "f4", external="raw"),
        lambda file: file.create_dataset("embeddings", (3, 4), "f4", compression="gzip"),
        lambda file: file.create_dataset("embeddings", (3, 10**12), "f4"),
        lambda file: file.create_group("embeddings"),
    ],
    ids=["external link", "soft link", "external bytes", "compressed", "huge", "group"],
)
def test_what_is_no_plain_dataset_is_refused(
    tmp_path: Path, replace: Callable[[h5py.File], object]
) -> None:
    path = write(tmp_path, "hdf5", *vectors())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["embeddings"] = np.zeros((3, 4), np.float32)
    with h5py.File(path, "a") as file:
        del file["embeddings"]
        replace(file)
    refusal(path)
