"""Names for files that tell records apart by name: those of one id get the record's number too."""

from collections.abc import Iterable, Iterator
from itertools import compress

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.errors import shortened
from virnucpro.prediction.outputs.record_scores import lines
from virnucpro.prediction.shard import Shard, decode_shard
from virnucpro.runs.shard_store import ShardStore

UInt64 = NDArray[np.uint64]
#: BED and bedGraph take lines that begin so for comments or settings.
_NO_DATA = ("#", "track", "browser")
#: Letters of a name that a note shows.
NAMED = 100


class Names:
    """Gives each record a name of its own.

    The first record of an id is named by it; a further one gets its number, from 1: `ID.record_7`.

    Args:
        store: the shards of the run, which are read once for their ids.
        shards: how many there are.
    """

    def __init__(self, store: ShardStore, shards: int) -> None:
        self._repeated, self._further = repeated(_hashes_in(store, shards))
        self._first = np.full(len(self._repeated), -1)  # record of each, once it has come
        self._example = ""

    def of(self, shard: Shard) -> list[str]:
        """Return the name of each piece of a shard; call it for all shards in their order."""
        ids = lines(shard.ids)
        if not len(self._repeated):
            return ids
        hashes = hashes_of(ids)
        among = np.searchsorted(self._repeated, hashes)
        is_repeated = self._repeated.take(among, mode="clip") == hashes
        numbers = shard.piece_P9[:, 0].tolist()
        for place, of in compress(enumerate(among.tolist()), is_repeated.tolist()):
            name, number = ids[place], numbers[place]
            if self._first[of] in (-1, number):
                self._first[of] = number
                continue
            ids[place] = f"{name}.record_{number + 1}"
            if not self._example:
                one, other = (shortened(text, NAMED) for text in (name, ids[place]))
                self._example = f"{one}, which is {other}"
        return ids

    def notes(self) -> list[str]:
        """Return what is to be said of ids that several records have, once all shards came."""
        if not self._further:
            return []
        return [f"{not_unique(self._further, self._example)} in files that need unique names"]


def repeated(parts: Iterable[UInt64]) -> tuple[UInt64, int]:
    """Return the hashes that come again, and how often one comes again; needs 8 bytes for each."""
    hashes = np.concatenate([np.empty(0, np.uint64), *parts])
    hashes.sort()
    again = hashes[1:][hashes[1:] == hashes[:-1]]
    return np.unique(again), len(again)


def not_unique(further: int, first: str) -> str:
    """Return what is said of ids that are not unique: how many come again, and which is first."""
    have = "record has" if further == 1 else "records have"
    return f"ids are not unique: {further:,} {have} the id of an earlier one, first {first}"


def hashes_of(ids: list[str]) -> UInt64:
    """Return a hash of each id."""
    return pl.Series(ids, dtype=pl.String).hash().to_numpy()


def _hashes_in(store: ShardStore, shards: int) -> Iterator[UInt64]:
    """Yield the hashes of the ids of the records that begin in each shard."""
    for index in range(shards):
        shard = decode_shard(store.load(index))
        yield hashes_of(lines(shard.ids))[_begins(shard)]


def _begins(shard: Shard) -> NDArray[np.bool_]:
    """Return which pieces begin their record."""
    _, _, _, first_chunk, _, mate, *_ = shard.piece_P9.T
    begins: NDArray[np.bool_] = (first_chunk == 0) & (mate != 2)
    return begins


def bed_name(name: str) -> str:
    r"""Return a name as BED and bedGraph can hold it; `#1` becomes `\x231`."""
    return f"\\x{ord(name[0]):02x}{name[1:]}" if name.startswith(_NO_DATA) else name
