"""Names of mates, as sequencers and archives write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.sequences.mates import are_mates, name_and_mate, say_they_are_mates

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)
NAMES = WORDS.filter(lambda word: not word.endswith(("/1", "/2")))
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
def test_what_says_which_mate_it_is_is_understood(name: str, style: str) -> None:
    first, second = (style.format(name=name, mate=mate) for mate in (1, 2))
    assert (name_and_mate(first), name_and_mate(second)) == ((name, 1), (name, 2))
    assert are_mates(first, second)
    assert say_they_are_mates(first, second)
    assert not are_mates(second, first)
    assert not are_mates(first, first)


@given(NAMES, st.lists(WORDS, max_size=3))
def test_equal_names_may_be_mates_but_do_not_say_so(name: str, words: list[str]) -> None:
    header = " ".join([name, *(f"x{word}" for word in words)])
    assert name_and_mate(header) == (name, 0)
    assert are_mates(header, name)
    assert not say_they_are_mates(header, header)


@given(NAMES, NAMES, STYLES)
def test_other_names_are_no_mates(one: str, other: str, style: str) -> None:
    first, second = style.format(name=one, mate=1), style.format(name=other, mate=2)
    assert are_mates(first, second) == (one == other)


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
