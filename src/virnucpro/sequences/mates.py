"""Which reads are the two mates of a pair, by their names."""

import re

from virnucpro.sequences.reader import record_id

#: The second word of a header as Casava 1.8 writes it: mate, filtered, control bits, index.
_CASAVA = re.compile(r"([12]):[YN]:\d+:\S*")


def name_and_mate(header: str) -> tuple[str, int]:
    """Return the name that both mates share, and which of the two this is.

    Understands `name/1` and `name 1:N:0:ATCACG`.

    Args:
        header: a whole header.

    Returns:
        the first word without its mate, and 1 or 2; 0 where the header does not say.
    """
    name = record_id(header)
    if len(name) > 2 and name.endswith(("/1", "/2")):
        return name[:-2], int(name[-1])
    words = header.split(maxsplit=2)
    casava = _CASAVA.fullmatch(words[1]) if len(words) > 1 else None
    return name, int(casava[1]) if casava else 0


def are_mates(first: str, second: str) -> bool:
    """Tell whether two headers may be those of mates 1 and 2 of one pair."""
    (one, mate_one), (other, mate_other) = name_and_mate(first), name_and_mate(second)
    return one == other and mate_one in (0, 1) and mate_other in (0, 2)


def say_they_are_mates(first: str, second: str) -> bool:
    """Tell whether two headers say themselves that they are mates 1 and 2 of one pair."""
    marks = name_and_mate(first)[1], name_and_mate(second)[1]
    return marks == (1, 2) and are_mates(first, second)
