"""Recognises the two mates of a pair by their names."""

import re

from virnucpro.sequences.records import record_id

#: Second word of a header as written by Casava 1.8: mate, filtered, control bits, index.
_CASAVA = re.compile(r"([12]):[YN]:\d+:\S*")
#: Endings of the names of mates 1 and 2.
_MARKS = (("1", "2"), ("f", "r"), ("F", "R"))
#: Endings that mark a mate on their own, and the mate they mark.
_SURE = {f"/{mark}": mate for marks in _MARKS for mate, mark in enumerate(marks, start=1)}
#: Endings that mark mates only if both names match: SRR1.1 and SRR1.2 can also be separate reads.
_TOGETHER = {(f"{by}{first}", f"{by}{second}") for by in "._" for first, second in _MARKS}


def name_and_mate(header: str) -> tuple[str, int]:
    """Return the name shared by both mates of a pair, and which mate a header belongs to.

    Understands `name/1`, `name/f` and `name 1:N:0:ATCACG`.

    Args:
        header: a whole header.

    Returns:
        the first word without the ending that marks the mate, and 1 or 2; 0 if nothing marks it.
    """
    name = record_id(header)
    if len(name) > 2 and name[-2:] in _SURE:
        return name[:-2], _SURE[name[-2:]]
    words = header.split(maxsplit=2)
    casava = _CASAVA.fullmatch(words[1]) if len(words) > 1 else None
    return name, int(casava[1]) if casava else 0


def pair_name(first: str, second: str) -> str:
    """Return the name of the pair with these headers of mates 1 and 2; empty if they do not match.

    Names match if they are equal, apart from endings that mark mates on their own, or if they end
    with .1 and .2, _1 and _2, .f and .r, or _f and _r. The name of the pair lacks these endings.
    """
    (one, mate_one), (other, mate_other) = name_and_mate(first), name_and_mate(second)
    if mate_one == 2 or mate_other == 1:
        return ""
    if one == other:
        return one
    is_marked = len(one) > 2 and (one[-2:], other[-2:]) in _TOGETHER
    return one[:-2] if is_marked and one[:-2] == other[:-2] else ""


def say_they_are_mates(first: str, second: str) -> bool:
    """Return whether two headers themselves mark mates 1 and 2 of one pair."""
    (one, mate_one), (other, mate_other) = name_and_mate(first), name_and_mate(second)
    return one == other and (mate_one, mate_other) == (1, 2)


def pairing_advice(first: str, second: str) -> str:
    """Return what to do if the headers of supposed mates 1 and 2 do not match."""
    one, other = record_id(first), record_id(second)
    if one[:-1] != other[:-1] or (one[-1], other[-1]) not in _MARKS:
        return "give mates in the same order, mates 1 first"
    stem = one[:-1].rstrip("._-:") or one
    return f"if they are mates, rename both to {stem}, or to {stem}/1 and {stem}/2"
