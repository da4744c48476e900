"""Blocks depend on the input alone and cover every chunk once."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.sequences import chunk_records
from virnucpro.sequences.blocks import Block, cut_blocks
from virnucpro.sequences.fragments import ReadOptions

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=30)


def blocks_of(lengths: list[int], chunk_length: int, block_chunks: int) -> list[Block]:
    """Write records of these lengths and cut them into blocks."""
    letters = "ACGTTGCA" * 6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.fa"
        path.write_text("".join(f">r{i} x\n{letters[:n]}\n" for i, n in enumerate(lengths)))
        return list(cut_blocks([str(path)], chunk_length, block_chunks))


@given(LENGTHS, st.integers(3, 12), st.integers(1, 9))
@settings(deadline=None)
def test_every_chunk_is_in_one_block_in_order(
    lengths: list[int], chunk_length: int, block_chunks: int
) -> None:
    blocks = blocks_of(lengths, chunk_length, block_chunks)
    assert [block.index for block in blocks] == list(range(len(blocks)))
    pieces = [piece for block in blocks for piece in block.pieces]
    covered = [(p.record, i + 1) for p in pieces for i in range(p.first_chunk, p.last_chunk)]
    expected = chunk_records(np.array(lengths), chunk_length)
    assert covered == list(zip(expected.record.tolist(), expected.number.tolist(), strict=True))
    assert sorted({p.record for p in pieces}) == list(range(len(lengths)))
    assert [p.problem != "" for p in pieces if p.length == 0] == [True] * lengths.count(0)


@given(LENGTHS, st.integers(3, 12), st.integers(1, 9))
@settings(deadline=None)
def test_blocks_are_no_larger_than_asked_and_pieces_hold_their_chunks(
    lengths: list[int], chunk_length: int, block_chunks: int
) -> None:
    expected = chunk_records(np.array(lengths), chunk_length)
    letters = "ACGTTGCA" * 6
    for block in blocks_of(lengths, chunk_length, block_chunks):
        sizes = [max(1, p.last_chunk - p.first_chunk) for p in block.pieces]
        assert sum(sizes) <= block_chunks
        for piece in block.pieces:
            here = (expected.record == piece.record) & (expected.number > piece.first_chunk)
            here &= expected.number <= piece.last_chunk
            if here.any():
                start, end = expected.start[here].min(), expected.end[here].max()
                assert (piece.offset, piece.sequence) == (start, letters[start:end])


def test_a_digest_tells_any_change_of_the_records() -> None:
    def digest(lengths: list[int], chunk_length: int = 10) -> bytes:
        return blocks_of(lengths, chunk_length, 100)[0].digest()

    assert digest([5, 20]) == digest([5, 20])
    assert len({digest([5, 20]), digest([20, 5]), digest([5, 21]), digest([5, 20], 9)}) == 4


@given(LENGTHS, st.integers(3, 12), st.integers(1, 9))
@settings(deadline=None)
def test_the_mates_of_a_pair_are_one_record(
    lengths: list[int], chunk_length: int, block_chunks: int
) -> None:
    lengths = lengths[: len(lengths) // 2 * 2] or [7, 0]
    letters = "ACGTTGCA" * 6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.fa"
        path.write_text("".join(f">r{i // 2}\n{letters[:n]}\n" for i, n in enumerate(lengths)))
        options = ReadOptions(interleaved=True)
        blocks = list(cut_blocks([str(path)], chunk_length, block_chunks, options))
    pieces = [piece for block in blocks for piece in block.pieces]
    expected = chunk_records(np.array(lengths), chunk_length)
    covered = [
        (2 * p.record + p.mate - 1, k + 1)
        for p in pieces
        for k in range(p.first_chunk, p.last_chunk)
    ]
    assert covered == list(zip(expected.record.tolist(), expected.number.tolist(), strict=True))
    pairs = list(range(len(lengths) // 2))
    assert [p.record for p in pieces if p.begins_record] == pairs
    assert [p.record for p in pieces if p.ends_record] == pairs
    for piece in pieces:
        first = -(-lengths[2 * piece.record] // chunk_length)
        assert piece.chunks_before == (first if piece.mate == 2 else 0)
    assert all(
        sum(max(1, p.last_chunk - p.first_chunk) for p in b.pieces) <= block_chunks for b in blocks
    )
