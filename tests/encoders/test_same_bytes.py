"""On a CPU what a sequence gives depends on the sequence alone, not by a bit on its neighbours.

These tests hold on every instruction set; the gate runs them under two.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import FUSABLE_DNA, block_of, tokens_of
from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.settle import choose_device
from virnucpro.encoders import DnabertS, Esm2, Esm2Config, Tokens
from virnucpro.encoders.esm_c import EsmC, EsmCConfig
from virnucpro.encoders.packing import encode_means, one_thread_an_operation
from virnucpro.encoders.precision import int8_fault
from virnucpro.encoders.six_frames import WINDOW, SixFrames, SixFramesConfig, window_tokens
from virnucpro.encoders.speed import speed_up
from virnucpro.prediction.worker import Worker
from virnucpro.runs.devices import Budgets

CPU = torch.device("cpu")
#: Runs, single sequences, lengths on both sides of where attention weights are held no more.
LENGTHS = [28, 28, 3, 28, 9, 1, 600, 3, 17]
NETWORKS: dict[str, Callable[[], Esm2 | EsmC | DnabertS | SixFrames]] = {
    "six frames": lambda: SixFrames(SixFramesConfig(2, 64, 2, 96, head_width=32)),
    "protein": lambda: Esm2(Esm2Config(layers=3, width=96, heads=3, vocabulary=33)),
    # Wide enough for every kernel that was seen to change with the number of rows.
    "wide protein": lambda: Esm2(Esm2Config(layers=1, width=640, heads=10, vocabulary=33)),
    "esm_c": lambda: EsmC(EsmCConfig(1, 192, 3, feed_forward=512, vocabulary=64)),
    "dna": lambda: DnabertS(FUSABLE_DNA),
}
needs_products = pytest.mark.skipif(bool(int8_fault()), reason=int8_fault())


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute as packs are computed; threads that wait for each other are slow here."""
    with one_thread_an_operation():
        yield


@cache
def network_of(kind: str, precision: str) -> Esm2 | EsmC | DnabertS | SixFrames:
    torch.manual_seed(5)
    network = NETWORKS[kind]().eval().requires_grad_(requires_grad=False)
    for name, parameter in network.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.uniform_(parameter, 0.2, 3.0)
        else:
            nn.init.normal_(parameter, std=0.3 / (1 + 2 * (parameter.dim() > 1)))
    speed_up(network, precision)
    return network


@cache
def tokens_for(kind: str) -> Tokens:
    """Return sequences of `LENGTHS`."""
    if kind != "six frames":
        return tokens_of(LENGTHS, 4, 24, seed=3)
    ends = WINDOW * np.cumsum([0, *LENGTHS])
    letters_N = np.random.default_rng(3).choice(np.frombuffer(b"ACGTN", np.uint8), ends[-1])
    return window_tokens(letters_N, ends[:-1], ends[1:])


def means_of(kind: str, precision: str, which: list[int], budget: int) -> Tensor:
    network, tokens = network_of(kind, precision), tokens_for(kind).choose(np.array(which))
    return encode_means(network, 0, tokens, budget, CPU)


@cache
def alone(kind: str, precision: str, sequence: int) -> Tensor:
    return means_of(kind, precision, [sequence], 1)[0]


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        *((kind, "fp32") for kind in NETWORKS),
        pytest.param("six frames", "int8", marks=needs_products),
        pytest.param("protein", "int8", marks=needs_products),
    ],
)
@settings(deadline=None, max_examples=8)
@given(
    which=st.permutations(range(len(LENGTHS))),
    count=st.integers(1, len(LENGTHS)),
    budget=st.sampled_from([2048, 64, 100]),
)
def test_a_sequence_gives_the_same_bytes_among_any_others(
    kind: str, precision: str, which: list[int], count: int, budget: int
) -> None:
    together = means_of(kind, precision, which[:count], budget)
    for found, i in zip(together, which, strict=False):
        expected = alone(kind, precision, i)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("precision", [pytest.param("int8", marks=needs_products), "fp32"])
def test_scores_are_the_same_bytes_for_any_budget_threads_and_neighbours(precision: str) -> None:
    check_scores(load_bundle("compact"), precision)


def test_scores_of_two_encoders_are_the_same_bytes_too(tiny_bundle: Bundle) -> None:
    check_scores(tiny_bundle, "fp32")


def check_scores(bundle: Bundle, precision: str) -> None:
    whole = block_of(40, 700, 500)
    parts = [replace(whole, pieces=whole.pieces[start : start + 3]) for start in range(0, 9, 3)]
    found = []
    for budget, threads in ((2048, 1), (64, 1), (300, 3)):
        worker = Worker(bundle, choose_device("cpu", precision), 500, Budgets(budget, budget))
        torch.set_num_threads(threads)  # which go side by side, each with a pack
        found.append(worker.score(worker.prepare(whole)).tobytes())
        torch.set_num_threads(1)
    assert found[0] == found[1] == found[2]
    for part in parts:  # by the worker of the last budget
        scores = worker.score(worker.prepare(part)).tobytes()
        assert scores
        assert scores in found[0]
