"""DNABERT-S against a small model that the published code computed (tests/data)."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import DATA, relative_error
from virnucpro.encoders import DnabertS, DnabertSConfig, DnaTokenizer, Tokens, pack_sequences
from virnucpro.encoders.dnabert_s import fuse_published
from virnucpro.encoders.positions import alibi_bias, alibi_slopes

CONFIG = DnabertSConfig(layers=3, width=96, heads=12, feed_forward=192, vocabulary=4096)
BOUND = 1e-5
#: All sequences, neither sorted by length nor in the order of the file.
SHUFFLED = np.random.default_rng(2).permutation(12)


class Expected(NamedTuple):
    """What the published code computes of one sequence."""

    ids: Tensor
    hidden: Tensor
    mean: Tensor


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return load_file(DATA / "dnabert_s_tiny.weights.safetensors")


@pytest.fixture(scope="module")
def expected() -> list[Expected]:
    outputs = load_file(DATA / "dnabert_s_tiny.outputs.safetensors")
    return [
        Expected(*(outputs[f"{sequence}.{kind}"] for kind in Expected._fields))
        for sequence in range(len(SHUFFLED))
    ]


@pytest.fixture(scope="module")
def tokens(tokenizer_json: bytes) -> Tokens:
    described = json.loads((DATA / "dnabert_s_tiny.json").read_text())
    return DnaTokenizer(tokenizer_json)(described["sequences"])


def network(state: dict[str, Tensor]) -> DnabertS:
    made = DnabertS(CONFIG)
    made.load_state_dict(fuse_published(state))
    return made.eval()


def test_token_ids_equal_the_published_tokenizer(tokens: Tokens, expected: list[Expected]) -> None:
    found = np.split(tokens.ids, tokens.offsets[1:-1])
    assert [ids.tolist() for ids in found] == [e.ids.tolist() for e in expected]


@torch.inference_mode()
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_hidden_states_equal_the_published_code(
    prefix: str, published: dict[str, Tensor], tokens: Tokens, expected: list[Expected]
) -> None:
    state = {prefix + name: tensor for name, tensor in published.items()}
    found = network(state)(pack_sequences(tokens, SHUFFLED))
    parts = found.split(tokens.lengths[SHUFFLED].tolist())
    for hidden, sequence in zip(parts, SHUFFLED.tolist(), strict=True):
        assert hidden.shape == expected[sequence].hidden.shape
        assert relative_error(hidden, expected[sequence].hidden) < BOUND


@torch.inference_mode()
def test_means_are_over_all_tokens(
    published: dict[str, Tensor], tokens: Tokens, expected: list[Expected]
) -> None:
    found = network(published).embed(pack_sequences(tokens, SHUFFLED))
    assert found.dtype == torch.float32
    for mean, sequence in zip(found, SHUFFLED.tolist(), strict=True):
        assert relative_error(mean, expected[sequence].mean) < BOUND


@torch.inference_mode()
def test_a_sequence_does_not_see_its_neighbours(
    published: dict[str, Tensor], tokens: Tokens
) -> None:
    model = network(published)
    among = model(pack_sequences(tokens, SHUFFLED)).split(tokens.lengths[SHUFFLED].tolist())
    for hidden, sequence in zip(among, SHUFFLED.tolist(), strict=True):
        alone = model(pack_sequences(tokens, np.array([sequence])))
        torch.testing.assert_close(hidden, alone, rtol=1e-5, atol=1e-5)


def test_the_pooler_of_the_published_weights_is_left_out(published: dict[str, Tensor]) -> None:
    pooler = {"pooler.dense.weight": torch.ones(96, 96), "pooler.dense.bias": torch.ones(96)}
    assert fuse_published(published | pooler).keys() == fuse_published(published).keys()


def test_fused_names_and_shapes_are_the_networks(published: dict[str, Tensor]) -> None:
    ours = {name: tensor.shape for name, tensor in DnabertS(CONFIG).state_dict().items()}
    assert {name: t.shape for name, t in fuse_published(published).items()} == ours


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (3, [4, 8, 2]),
        (1, [8]),
    ],
)
def test_alibi_slopes(heads: int, exponents: list[float]) -> None:
    expected = torch.tensor([2.0**-exponent for exponent in exponents])
    torch.testing.assert_close(alibi_slopes(heads), expected, rtol=1e-7, atol=0)


def test_alibi_bias_falls_with_the_distance_on_both_sides() -> None:
    slopes = [0.5, 0.25, 1.0]
    expected = [[[-s * abs(i - j) for j in range(5)] for i in range(5)] for s in slopes]
    torch.testing.assert_close(alibi_bias(torch.tensor(slopes), 5), torch.tensor(expected))
