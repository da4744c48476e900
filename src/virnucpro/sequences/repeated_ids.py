"""Ids that several records of a run have, found with 8 bytes for each record."""

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.errors import shortened

UInt64 = NDArray[np.uint64]
#: Longest id in a note, in letters.
_LONGEST_ID = 100


def id_hashes(ids: list[str]) -> UInt64:
    """Return a hash of each id."""
    return pl.Series(ids, dtype=pl.String).hash().to_numpy()


def repeated_hashes(parts: Iterable[UInt64]) -> tuple[UInt64, int]:
    """Find repeated ids.

    Args:
        parts: hashes of the ids of all records.

    Returns:
        the hashes that occur more than once, sorted, and the number of records that have the id
        of an earlier one.
    """
    hashes = np.concatenate([np.empty(0, np.uint64), *parts])
    hashes.sort()
    again = hashes[1:][hashes[1:] == hashes[:-1]]
    return np.unique(again), len(again)


def id_in_note(record: str) -> str:
    """Return an id short enough for a note."""
    return shortened(record, _LONGEST_ID)


def repeated_ids_note(records: int, first: str) -> str:
    """Return the note for a run with repeated ids.

    Args:
        records: number of records that have the id of an earlier one.
        first: the first of them.
    """
    have = "record has" if records == 1 else "records have"
    return f"ids are not unique: {records:,} {have} the id of an earlier one, first {first}"
