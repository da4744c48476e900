"""Chunks against the published table and the formula of docs/method.md in plain integers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virnucpro.sequences import chunk_count, chunk_records, chunk_starts
from virnucpro.sequences.chunking import chunk_start

Window = tuple[int, int]

TABLE: list[tuple[int, int, list[Window]]] = [
    *((300, length, [(0, length)]) for length in range(1, 301)),
    (300, 301, [(0, 300), (150, 301)]),
    (300, 599, [(0, 300), (299, 599)]),
    (300, 600, [(0, 300), (300, 600)]),
    (300, 601, [(0, 300), (200, 500), (400, 601)]),
    (300, 1000, [(0, 300), (249, 549), (498, 798), (747, 1000)]),
    (500, 501, [(0, 500), (250, 501)]),
    (500, 1001, [(0, 500), (333, 833), (666, 1001)]),
    (500, 2300, [(0, 500), (459, 959), (918, 1418), (1377, 1877), (1836, 2300)]),
]

chunk_lengths = st.integers(1, 1000)
record_lengths = st.integers(1, 20_000)


def reference_chunks(length: int, chunk_length: int) -> list[Window]:
    """Cut one record by the formula, in Python's integers."""
    count = 0
    while count * chunk_length < length:
        count += 1
    low, rest = divmod(count * chunk_length - length, count)
    windows = []
    for i in range(count):
        start = i * chunk_length - i * low - min(i, low + rest)
        windows.append((start, min(length, start + chunk_length)))
    return windows


def windows_of(length: int, chunk_length: int) -> list[Window]:
    chunks = chunk_records(np.array([length]), chunk_length)
    return list(zip(chunks.start.tolist(), chunks.end.tolist(), strict=True))


@pytest.mark.parametrize(
    ("chunk_length", "length", "windows"), TABLE, ids=[f"{c}-{n}" for c, n, _ in TABLE]
)
def test_published_table(chunk_length: int, length: int, windows: list[Window]) -> None:
    assert windows_of(length, chunk_length) == windows
    assert reference_chunks(length, chunk_length) == windows


@settings(deadline=None, max_examples=300)
@given(length=record_lengths, chunk_length=chunk_lengths)
@example(length=1, chunk_length=1)
@example(length=20_000, chunk_length=1)
@example(length=2**40 + 1, chunk_length=2**33)
def test_one_record_equals_the_formula(length: int, chunk_length: int) -> None:
    assert windows_of(length, chunk_length) == reference_chunks(length, chunk_length)


@settings(deadline=None, max_examples=200)
@given(length=record_lengths, chunk_length=chunk_lengths)
def test_chunks_cover_the_record(length: int, chunk_length: int) -> None:
    windows = windows_of(length, chunk_length)
    assert windows[0][0] == 0
    assert windows[-1][1] == length
    for (start, end), (next_start, _) in pairwise(windows):
        assert start < next_start <= end
        assert end - start == chunk_length


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(0, 3000), max_size=12), chunk_length=chunk_lengths)
@example(lengths=[], chunk_length=300)
@example(lengths=[0], chunk_length=300)
@example(lengths=[0, 601, 0, 0, 300, 0], chunk_length=300)
def test_many_records_equal_one_at_a_time(lengths: list[int], chunk_length: int) -> None:
    expected = [
        (record, number, start, end)
        for record, length in enumerate(lengths)
        for number, (start, end) in enumerate(reference_chunks(max(length, 1), chunk_length), 1)
        if length
    ]
    chunks = chunk_records(np.array(lengths, dtype=np.int64), chunk_length)
    assert list(zip(*(column.tolist() for column in chunks), strict=True)) == expected
    for record, length in enumerate(lengths):
        alone = chunk_records(np.array([length]), chunk_length)
        of_record = chunks.record == record
        np.testing.assert_array_equal(chunks.number[of_record], alone.number)
        np.testing.assert_array_equal(chunks.start[of_record], alone.start)
        np.testing.assert_array_equal(chunks.end[of_record], alone.end)


@settings(deadline=None, max_examples=100)
@given(length=record_lengths, chunk_length=chunk_lengths, data=st.data())
def test_chunk_start_of_one_chunk(length: int, chunk_length: int, data: st.DataObject) -> None:
    windows = reference_chunks(length, chunk_length)
    number = data.draw(st.integers(0, len(windows) - 1))
    found = chunk_start(number, length, chunk_length)
    assert type(found) is int
    assert found == windows[number][0]
    starts = chunk_starts(np.arange(len(windows)), np.full(len(windows), length), chunk_length)
    assert starts[number] == found


@settings(deadline=None, max_examples=100)
@given(length=record_lengths, chunk_length=chunk_lengths)
def test_chunk_count_is_the_number_of_chunks(length: int, chunk_length: int) -> None:
    assert chunk_count(length, chunk_length) == len(reference_chunks(length, chunk_length))


def test_an_empty_record_has_no_chunk() -> None:
    assert chunk_count(0, 300) == 0
    assert len(chunk_records(np.array([0]), 300).start) == 0
