"""Unique names of records, for files that tell records apart by name."""

from itertools import compress

import numpy as np

from virnucpro.prediction.shard import Shard
from virnucpro.sequences.repeated_ids import UInt64, id_hashes, id_in_note, repeated_ids_note

#: BED and bedGraph read lines that begin with these as comments or settings.
_NO_DATA = ("#", "track", "browser")


class UniqueNames:
    """Gives each record a name of its own.

    The name of the first record of an id is the id; a later one also gets its number, counted from
    1: `ID.record_7`.

    Args:
        repeated: sorted hashes of the ids that several records have.
        repeats: number of records that have the id of an earlier one.
    """

    def __init__(self, repeated: UInt64, repeats: int) -> None:
        self._repeated, self._repeats = repeated, repeats
        self._first = np.full(len(repeated), -1)  # number of the first record of each id so far
        self._example = ""

    def of_pieces(self, shard: Shard, ids: list[str]) -> list[str]:
        """Return the name of each piece of a shard; shards come in their order.

        Args:
            shard: the next shard.
            ids: ids of its pieces.
        """
        if not len(self._repeated):
            return ids
        hashes = id_hashes(ids)
        among = np.searchsorted(self._repeated, hashes)
        is_repeated = self._repeated.take(among, mode="clip") == hashes
        names, numbers = list(ids), shard.piece_P9[:, 0].tolist()
        for piece, of in compress(enumerate(among.tolist()), is_repeated.tolist()):
            number = numbers[piece]
            if self._first[of] in (-1, number):
                self._first[of] = number
                continue
            names[piece] = f"{ids[piece]}.record_{number + 1}"
            if not self._example:
                one, other = map(id_in_note, (ids[piece], names[piece]))
                self._example = f"{one}, which is {other}"
        return names

    def notes(self) -> list[str]:
        """Return what the user should know about repeated ids, after the last shard."""
        if not self._repeats:
            return []
        note = repeated_ids_note(self._repeats, self._example)
        return [f"{note} in files that need unique names"]


def bed_name(name: str) -> str:
    r"""Return a name as BED and bedGraph can hold it; `#1` becomes `\x231`."""
    return f"\\x{ord(name[0]):02x}{name[1:]}" if name.startswith(_NO_DATA) else name
