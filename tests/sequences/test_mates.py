"""Names of mates, as sequencers and archives write them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virnucpro.sequences.mates import name_and_mate, pair_name, pairing_advice, say_they_are_mates
from virnucpro.sequences.records import printable_id

#: Ends of names of mates that tell by themselves, and of those that only tell together.
SURE = [("/1", "/2"), ("/f", "/r"), ("/F", "/R")]
TOGETHER = [(f"{by}{a[1]}", f"{by}{b[1]}") for by in "._" for a, b in SURE]
ENDS = tuple(end for ends in SURE + TOGETHER for end in ends)

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)
NAMES = WORDS.filter(lambda word: not word.endswith(ENDS))
CASAVA = st.builds(
    "{}:{}:{}:{}".format,
    st.just("{mate}"),
    st.sampled_from("YN"),
    st.integers(0, 4096),
    st.sampled_from(["ATCACG", "1", "", "ACGT+TTGA"]),
)
#: Headers of mates of one name, to be given the number of the mate.
STYLES = st.one_of(
    st.just("{name}/{mate}"),
    st.just("{name}/{mate} length=150"),
    CASAVA.map("{{name}} {}".format),
    CASAVA.map("{{name}}\t{} more".format),
    CASAVA.map("{{name}}/{{mate}} {}".format),
)


@given(NAMES, STYLES)
@example("\\x00", "{name}/{mate}")
def test_what_says_which_mate_it_is_is_understood(name: str, style: str) -> None:
    first, second = (style.format(name=name, mate=mate) for mate in (1, 2))
    id_ = printable_id(name)
    assert (name_and_mate(first), name_and_mate(second)) == ((id_, 1), (id_, 2))
    assert pair_name(first, second) == id_
    assert say_they_are_mates(first, second)
    assert not pair_name(second, first)
    assert not pair_name(first, first)


@given(NAMES, st.lists(WORDS, max_size=3))
def test_equal_names_may_be_mates_but_do_not_say_so(name: str, words: list[str]) -> None:
    header = " ".join([name, *(f"x{word}" for word in words)])
    id_ = printable_id(name)
    assert name_and_mate(header) == (id_, 0)
    assert pair_name(header, name) == id_
    assert not say_they_are_mates(header, header)


@given(NAMES, st.sampled_from(SURE + TOGETHER), st.lists(WORDS, max_size=2))
def test_the_ends_of_both_names_tell(name: str, ends: tuple[str, str], words: list[str]) -> None:
    first, second = (" ".join([name + end, *(f"x{word}" for word in words)]) for end in ends)
    assert pair_name(first, second) == name
    assert not pair_name(second, first)
    assert say_they_are_mates(first, second) == (ends in SURE)
    assert pair_name(first, first) == ("" if ends in SURE else name + ends[0])
    assert not pair_name(name + ends[0], "x" + name + ends[1])


@given(NAMES, NAMES, STYLES)
def test_other_names_are_no_mates(one: str, other: str, style: str) -> None:
    first, second = style.format(name=one, mate=1), style.format(name=other, mate=2)
    assert bool(pair_name(first, second)) == (one == other)


@given(st.text())
def test_any_header_has_a_name(header: str) -> None:
    name, mate = name_and_mate(header)
    assert name
    assert mate in (0, 1, 2)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", ("unnamed", 0)),
        ("/1", ("/1", 0)),
        ("a/3", ("a/3", 0)),
        ("a/R", ("a", 2)),
        ("/f", ("/f", 0)),
        ("a.1", ("a.1", 0)),
        ("a/1/2", ("a/1", 2)),
        ("a 3:N:0:ACGT", ("a", 0)),
        ("a 1:X:0:ACGT", ("a", 0)),
        ("a x 1:N:0:ACGT", ("a", 0)),
        ("A00:1:HX:1:1101:1:2 2:Y:18:1", ("A00:1:HX:1:1101:1:2", 2)),
    ],
)
def test_names_that_could_be_taken_for_others(header: str, found: tuple[str, int]) -> None:
    assert name_and_mate(header) == found


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("SRR1.0.1 0 length=150", "SRR1.0.2 0 length=150", "SRR1.0"),  # fastq-dump -I
        ("SRR1.7", "SRR1.7", "SRR1.7"),
        ("SRR1.2", "SRR1.3", ""),  # a mate is missing
        ("SRR1.11", "SRR1.12", ""),
        ("SRR1.1", "SRR2.2", ""),
        ("a_1", "a.2", ""),
        ("a_1", "a_r", ""),
        (".1", ".2", ""),
        ("read1", "read2", ""),
        ("a:1:1", "a:1:2", ""),
        ("a/1", "a.2", ""),
    ],
)
def test_names_of_pairs(first: str, second: str, found: str) -> None:
    assert pair_name(first, second) == found


@pytest.mark.parametrize(
    ("first", "second", "to_do"),
    [
        ("read1 x", "read2 x", "rename both to read, or to read/1 and read/2"),
        ("a:1:1", "a:1:2", "rename both to a:1, or to a:1/1 and a:1/2"),
        ("a1", "b2", "give mates in the same order"),
        ("one", "other", "give mates in the same order"),
        ("a/1", "a/1", "give mates in the same order, mates 1 first"),
    ],
)
def test_what_to_do_where_names_differ(first: str, second: str, to_do: str) -> None:
    assert to_do in pairing_advice(first, second)
