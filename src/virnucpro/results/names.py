"""Names for files that tell records apart by name: those of one id get the record's number too."""

from itertools import compress

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.engine.shards import Shard, decode_shard
from virnucpro.engine.store import ShardStore
from virnucpro.errors import shortened
from virnucpro.results.records import lines

#: BED and bedGraph take lines that begin so for comments or settings.
_NO_DATA = ("#", "track", "browser")
#: Letters of a name that a note shows.
_NAMED = 100


class Names:
    """Gives each record a name of its own.

    The first record of an id is named by it; a further one gets its number, from 1: `ID.record_7`.

    Args:
        store: the shards of the run, which are read once for their ids.
        shards: how many there are.
    """

    def __init__(self, store: ShardStore, shards: int) -> None:
        self._repeated = _repeated(store, shards)
        self._first = np.full(len(self._repeated), -1)  # record of each, once it has come
        self._further, self._example = 0, ""

    def of(self, shard: Shard) -> list[str]:
        """Return the name of each piece of a shard; call it for all shards in their order."""
        ids = lines(shard.ids)
        if not len(self._repeated):
            return ids
        hashes = _hashes(ids)
        among = np.searchsorted(self._repeated, hashes)
        is_repeated = self._repeated.take(among, mode="clip") == hashes
        numbers, begins = shard.piece_P9[:, 0].tolist(), _begins(shard).tolist()
        for place, of in compress(enumerate(among.tolist()), is_repeated.tolist()):
            name, number = ids[place], numbers[place]
            if self._first[of] in (-1, number):
                self._first[of] = number
                continue
            ids[place] = f"{name}.record_{number + 1}"
            self._further += begins[place]
            if not self._example:
                one, other = (shortened(text, _NAMED) for text in (name, ids[place]))
                self._example = f"{one}, which is {other}"
        return ids

    def notes(self) -> list[str]:
        """Return what is to be said of ids that several records have, once all shards came."""
        if not self._further:
            return []
        have = "record has" if self._further == 1 else "records have"
        note = (
            f"ids are not unique: {self._further:,} {have} the id of an earlier one, "
            f"first {self._example} in files that need unique names"
        )
        return [note]


def _repeated(store: ShardStore, shards: int) -> NDArray[np.uint64]:
    """Return the hashes of ids that several records have; needs 8 bytes a record."""
    found = [np.empty(0, np.uint64)]
    for index in range(shards):
        shard = decode_shard(store.load(index))
        found.append(_hashes(lines(shard.ids))[_begins(shard)])
    hashes = np.sort(np.concatenate(found))
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _begins(shard: Shard) -> NDArray[np.bool_]:
    """Return which pieces begin their record."""
    _, _, _, first_chunk, _, mate, *_ = shard.piece_P9.T
    begins: NDArray[np.bool_] = (first_chunk == 0) & (mate != 2)
    return begins


def _hashes(ids: list[str]) -> NDArray[np.uint64]:
    return pl.Series(ids, dtype=pl.String).hash().to_numpy()


def bed_name(name: str) -> str:
    r"""Return a name as BED and bedGraph can hold it; `#1` becomes `\x231`."""
    return f"\\x{ord(name[0]):02x}{name[1:]}" if name.startswith(_NO_DATA) else name
