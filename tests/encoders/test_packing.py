"""Packs against obvious loops."""

from itertools import groupby, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import tokens_of
from virnucpro.encoders import (
    Esm2,
    Esm2Config,
    Pack,
    Tokens,
    encode_means,
    pack_by_length,
    pack_sequences,
)
from virnucpro.encoders.packing import mean_pool

VOCABULARY = 31
#: Few different lengths, so that runs of equal length happen.
LENGTHS = st.lists(st.sampled_from([2, 3, 4, 7, 20]), min_size=1, max_size=30)
BUDGETS = st.integers(1, 60)


def rows_of(tokens: Tokens) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])]


def check_pack(pack: Pack, rows: list[list[int]]) -> None:
    """Compare a pack with the sequences it should hold, in this order."""
    assert pack.tokens_T.tolist() == [token for row in rows for token in row]
    assert pack.positions_T.tolist() == [i for row in rows for i in range(len(row))]
    ends = [sum(map(len, rows[:i])) for i in range(len(rows) + 1)]
    assert pack.cu_seqlens.tolist() == ends
    assert (pack.tokens_T.dtype, pack.positions_T.dtype) == (torch.int64, torch.int64)
    assert pack.cu_seqlens.dtype == torch.int32
    assert pack.longest == max(map(len, rows))
    assert pack.sequences == len(rows)
    runs = [(len(list(group)), length) for length, group in groupby(map(len, rows))]
    assert [(run.sequences, run.length) for run in pack.runs] == runs
    assert sum(run.tokens for run in pack.runs) == len(pack.tokens_T)


@settings(deadline=None)
@given(LENGTHS, st.data())
def test_a_pack_holds_the_chosen_sequences_in_their_order(
    lengths: list[int], data: st.DataObject
) -> None:
    tokens = tokens_of(lengths, 0, VOCABULARY)
    which = data.draw(
        st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=30, unique=True)
    )
    rows = rows_of(tokens)
    check_pack(pack_sequences(tokens, np.array(which)), [rows[i] for i in which])


@settings(deadline=None)
@given(LENGTHS, st.data())
def test_chosen_sequences_are_those_asked_for_in_order(
    lengths: list[int], data: st.DataObject
) -> None:
    tokens = tokens_of(lengths, 0, VOCABULARY)
    which = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=30))
    rows = rows_of(tokens)
    chosen = tokens.choose(np.array(which, dtype=np.int64))
    assert chosen.ids.tolist() == [token for i in which for token in rows[i]]
    ends = [sum(lengths[i] for i in which[:k]) for k in range(len(which) + 1)]
    assert chosen.offsets.tolist() == ends
    assert {str(chosen.ids.dtype), str(chosen.offsets.dtype)} == {"int64"}


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 100))
def test_packs_are_filled_up_with_zeros(lengths: list[int], multiple_of: int) -> None:
    tokens = tokens_of(lengths, 1, VOCABULARY)
    which = np.arange(len(lengths))
    bare, pack = pack_sequences(tokens, which), pack_sequences(tokens, which, multiple_of)
    size, used = len(pack.tokens_T), sum(lengths)
    assert (bare.used, pack.used) == (used, used)
    assert size % multiple_of == 0
    assert used <= size < used + multiple_of
    assert len(pack.positions_T) == size
    assert not pack.tokens_T[used:].any()
    assert not pack.positions_T[used:].any()
    check_pack(
        pack._replace(tokens_T=pack.tokens_T[:used], positions_T=pack.positions_T[:used]),
        rows_of(tokens),
    )


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_packs_hold_every_sequence_once_shortest_first(lengths: list[int], budget: int) -> None:
    tokens = tokens_of(lengths, 0, VOCABULARY)
    rows = rows_of(tokens)
    seen: list[int] = []
    for which, pack in pack_by_length(tokens, budget):
        check_pack(pack, [rows[i] for i in which.tolist()])
        seen += which.tolist()
    assert seen == sorted(range(len(lengths)), key=lambda i: lengths[i])


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_packs_are_full_but_within_the_budget(lengths: list[int], budget: int) -> None:
    packs = [pack for _, pack in pack_by_length(tokens_of(lengths, 0, VOCABULARY), budget)]
    for pack in packs:
        assert len(pack.tokens_T) <= budget or pack.sequences == 1
    for pack, following in pairwise(packs):
        assert len(pack.tokens_T) + following.runs[0].length > budget


def test_no_sequences_give_no_pack() -> None:
    assert list(pack_by_length(tokens_of([], 0, VOCABULARY), 10)) == []


@settings(deadline=None)
@given(LENGTHS, st.integers(0, 3))
def test_mean_pool_equals_a_loop(lengths: list[int], trim: int) -> None:
    lengths = [length + 2 * trim for length in lengths]
    tokens = tokens_of(lengths, 0, VOCABULARY)
    pack = pack_sequences(tokens, np.arange(len(lengths)))
    hidden_TD = torch.randn(len(tokens.ids), 3, generator=torch.Generator().manual_seed(1))
    means = [part[trim : len(part) - trim].mean(dim=0) for part in hidden_TD.split(lengths)]
    torch.testing.assert_close(mean_pool(hidden_TD, pack, trim), torch.stack(means))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mean_pool_sums_in_fp32(dtype: torch.dtype) -> None:
    pack = pack_sequences(tokens_of([4000, 3], 0, VOCABULARY), np.arange(2))
    hidden_TD = torch.linspace(0, 100, 4003).to(dtype)[:, None]
    found = mean_pool(hidden_TD, pack)
    assert found.dtype == torch.float32
    means = [part.double().mean().item() for part in hidden_TD.split([4000, 3])]
    np.testing.assert_allclose(found[:, 0].numpy(), means, rtol=1e-6)


class BagOfTokens(nn.Module):
    """The mean of learned token vectors: an encoder whose result is easy to tell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)

    def embed(self, pack: Pack) -> Tensor:
        return mean_pool(self.embedding(pack.tokens_T), pack)


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
@torch.inference_mode()
def test_encoded_rows_are_in_the_order_of_the_input(lengths: list[int], budget: int) -> None:
    torch.manual_seed(3)
    encoder = BagOfTokens(5)
    tokens = tokens_of(lengths, 0, VOCABULARY)
    found = encode_means(encoder, 5, tokens, budget, torch.device("cpu"))
    rows = [encoder.embedding(torch.tensor(row)).mean(dim=0) for row in rows_of(tokens)]
    torch.testing.assert_close(found, torch.stack(rows))


@torch.inference_mode()
@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_esm2_means_do_not_depend_on_the_budget(budget: int) -> None:
    torch.manual_seed(4)
    encoder = Esm2(Esm2Config(layers=2, width=16, heads=2, vocabulary=33)).eval()
    tokens = tokens_of(np.random.default_rng(0).integers(3, 40, 25).tolist(), 4, 24)
    found = encode_means(encoder, 16, tokens, budget, torch.device("cpu"))
    for row, sequence in zip(found, range(25), strict=True):
        alone = encoder.embed(pack_sequences(tokens, np.array([sequence])))[0]
        torch.testing.assert_close(row, alone, rtol=1e-5, atol=1e-5)


def test_means_are_the_same_bytes_on_any_number_of_threads() -> None:
    torch.manual_seed(2)
    encoder = Esm2(Esm2Config(layers=2, width=64, heads=2, vocabulary=33)).eval()
    random = np.random.default_rng(5)
    tokens = tokens_of(random.integers(3, 180, 200).tolist(), 4, 24)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(encode_means(encoder, 64, tokens, 512, torch.device("cpu")))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


class Broken:
    """An encoder that fails."""

    def embed(self, pack: Pack) -> torch.Tensor:
        raise ArithmeticError(pack.longest)


def test_a_failure_in_a_pack_comes_out() -> None:
    with pytest.raises(ArithmeticError):
        encode_means(Broken(), 4, tokens_of([3, 5, 9], 4, 24), 8, torch.device("cpu"))
