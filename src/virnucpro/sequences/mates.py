"""Which reads are the two mates of a pair, by their names."""

import re

from virnucpro.sequences.records import record_id

#: The second word of a header as Casava 1.8 writes it: mate, filtered, control bits, index.
_CASAVA = re.compile(r"([12]):[YN]:\d+:\S*")
#: How names of mates 1 and 2 end.
_MARKS = (("1", "2"), ("f", "r"), ("F", "R"))
#: Which mate a name is of that ends so.
_SURE = {f"/{mark}": mate for marks in _MARKS for mate, mark in enumerate(marks, start=1)}
#: Ends that both names must have to mean mates: SRR1.1 and SRR1.2 may be reads of their own, too.
_TOGETHER = {(f"{by}{first}", f"{by}{second}") for by in "._" for first, second in _MARKS}


def name_and_mate(header: str) -> tuple[str, int]:
    """Return the name that both mates share, and which of the two this is.

    Understands `name/1`, `name/f` and `name 1:N:0:ATCACG`.

    Args:
        header: a whole header.

    Returns:
        the first word without its mate, and 1 or 2; 0 where the header does not say.
    """
    name = record_id(header)
    if len(name) > 2 and name[-2:] in _SURE:
        return name[:-2], _SURE[name[-2:]]
    words = header.split(maxsplit=2)
    casava = _CASAVA.fullmatch(words[1]) if len(words) > 1 else None
    return name, int(casava[1]) if casava else 0


def pair_name(first: str, second: str) -> str:
    """Return the name of the pair whose mates 1 and 2 have these headers; empty where they differ.

    Names of mates are equal, say themselves which mate they are of, or end with .1 and .2, _1 and
    _2, .f and .r, _f and _r; the pair's name has no such end.
    """
    (one, mate_one), (other, mate_other) = name_and_mate(first), name_and_mate(second)
    if mate_one == 2 or mate_other == 1:
        return ""
    if one == other:
        return one
    is_marked = len(one) > 2 and (one[-2:], other[-2:]) in _TOGETHER
    return one[:-2] if is_marked and one[:-2] == other[:-2] else ""


def say_they_are_mates(first: str, second: str) -> bool:
    """Tell whether each of two headers says itself that it is of mate 1, and 2, of one pair."""
    (one, mate_one), (other, mate_other) = name_and_mate(first), name_and_mate(second)
    return one == other and (mate_one, mate_other) == (1, 2)


def pairing_advice(first: str, second: str) -> str:
    """Return what to do about headers of two reads that should be mates 1 and 2."""
    one, other = record_id(first), record_id(second)
    if one[:-1] != other[:-1] or (one[-1], other[-1]) not in _MARKS:
        return "give mates in the same order, mates 1 first"
    stem = one[:-1].rstrip("._-:") or one
    return (
        "if they are, only their naming is not understood: rename both to "
        f"{stem}, or to {stem}/1 and {stem}/2"
    )
