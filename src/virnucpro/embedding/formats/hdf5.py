"""HDF5: the arrays as datasets, `ids` as UTF-8 strings, the metadata as attributes of the file.

Links to other files are not followed. But the HDF5 library trusts much of what it reads, and a
malicious file can make it hang or crash: open HDF5 files only from sources that you trust.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from virnucpro.embedding.formats.arrays import (
    SEQUENCES_AT_ONCE,
    Array,
    Arrays,
    array_layouts,
    array_parts,
)
from virnucpro.embedding.formats.interface import Part, Shape

if TYPE_CHECKING:
    import h5py


def write(path: Path, shape: Shape, metadata: Mapping[str, str], parts: Iterable[Part]) -> None:
    """Write a file; see `write_embeddings`."""
    import h5py  # noqa: PLC0415 (needed for this format only)

    # No other process knows of this file yet, and some cluster file systems have no locks.
    with _as_system_errors(), h5py.File(path, "w", locking=False) as file:
        file.attrs.update(metadata)
        ids = file.create_dataset("ids", (shape.sequences,), h5py.string_dtype("utf-8"))
        arrays = {
            name: file.create_dataset(name, layout.shape, layout.dtype)
            for name, layout in array_layouts(shape).items()
        }
        written = dict.fromkeys(["ids", *arrays], 0)
        for part in array_parts(shape, parts):
            strings = {"ids": np.array(part.ids, dtype=object)} if part.ids else {}
            for name, values in (strings | part.arrays).items():
                end = written[name] + len(values)
                (ids if name == "ids" else arrays[name])[written[name] : end] = values
                written[name] = end


@contextmanager
def _as_system_errors() -> Iterator[None]:
    """Raise OSError for the RuntimeError that the library raises if a disk is full."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error


@contextmanager
def open_file(path: Path) -> Iterator[Arrays]:
    """Open a file; see `OpenFile`."""
    import h5py  # noqa: PLC0415 (needed for this format only)

    with h5py.File(path, "r", locking=False) as file:
        metadata = dict(file.attrs)
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its attributes are not all text")
        ids = _dataset(file, "ids")
        lengths = _dataset(file, "lengths")
        if ids.shape != lengths.shape:
            raise ValueError("its ids and lengths differ in number")
        yield Arrays(
            metadata,
            path.stat().st_size,
            _strings(ids),
            cast("Array", lengths),
            cast("Array", _dataset(file, "embeddings")),
            cast("Array", _dataset(file, "offsets")) if "offsets" in file else None,
        )


def _dataset(file: "h5py.File", name: str) -> "h5py.Dataset":
    """Return an uncompressed dataset of the file; links are refused, they may lead anywhere."""
    import h5py  # noqa: PLC0415 (needed for this format only)

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"it has no {name} of its own")  # noqa: TRY004 (the file is wrong)
    dataset = file[name]
    is_plain = (
        isinstance(dataset, h5py.Dataset)
        and dataset.chunks is None
        and dataset.external is None
        and not dataset.is_virtual
    )
    if not is_plain:
        raise ValueError(f"its {name} are not a plain dataset")
    return dataset


def _strings(dataset: "h5py.Dataset") -> Iterator[str]:
    for start in range(0, len(dataset), SEQUENCES_AT_ONCE):
        yield from dataset.asstr()[start : start + SEQUENCES_AT_ONCE]
