"""ESM C against a small model that the package `esm` computed (tests/data)."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import DATA, relative_error
from virnucpro.encoders import Tokens, pack_sequences
from virnucpro.encoders.esm_c import EsmC, EsmCConfig, fuse_published
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.tokens import end_to_end, protein_tokens

CONFIG = EsmCConfig(layers=2, width=64, heads=2, feed_forward=256, vocabulary=64)
PROTEINS = json.loads((DATA / "esm_c_tiny.json").read_text())["proteins"]
BOUND = 1e-5
#: All proteins, neither sorted by length nor in the order of the file.
SHUFFLED = np.random.default_rng(2).permutation(len(PROTEINS))


class Expected(NamedTuple):
    """What the package computes of one protein.

    Attributes:
        ids: of its tokens.
        hidden: of the last layer.
        first: of the first layer, to which no LayerNorm is applied.
    """

    ids: Tensor
    hidden: Tensor
    first: Tensor


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    state = load_file(DATA / "esm_c_tiny.weights.safetensors")
    return {name: tensor.float() for name, tensor in state.items()}


@pytest.fixture(scope="module")
def expected() -> list[Expected]:
    outputs = load_file(DATA / "esm_c_tiny.outputs.safetensors")
    return [
        Expected(*(outputs[f"{protein}.{kind}"] for kind in Expected._fields))
        for protein in range(len(PROTEINS))
    ]


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return protein_tokens(*end_to_end(PROTEINS))


def network(state: dict[str, Tensor]) -> EsmC:
    made = EsmC(CONFIG)
    made.load_state_dict(fuse_published(state))
    return made.eval().requires_grad_(requires_grad=False)


def test_token_ids_equal_the_published_tokenizer(tokens: Tokens, expected: list[Expected]) -> None:
    found = np.split(tokens.ids, tokens.offsets[1:-1])
    assert [ids.tolist() for ids in found] == [e.ids.tolist() for e in expected]


@torch.inference_mode()
@pytest.mark.parametrize("is_fast", [False, True])
def test_hidden_states_of_a_pack_equal_the_published_code(
    published: dict[str, Tensor], tokens: Tokens, expected: list[Expected], *, is_fast: bool
) -> None:
    model = network(published)
    if is_fast:
        assert speed_up(model, "fp32") == "fused steps for a CPU"
    pack = pack_sequences(tokens, SHUFFLED, multiple_of=64)
    means = model.embed(pack)
    assert means.dtype == torch.float32
    parts = model(pack)[: pack.used].split(tokens.lengths[SHUFFLED].tolist())
    for hidden, mean, protein in zip(parts, means, SHUFFLED.tolist(), strict=True):
        assert hidden.shape == expected[protein].hidden.shape
        assert relative_error(hidden, expected[protein].hidden) < BOUND
        assert relative_error(mean, expected[protein].hidden[1:-1].mean(dim=0)) < BOUND


@torch.inference_mode()
def test_an_earlier_layer_is_before_any_norm(
    published: dict[str, Tensor], tokens: Tokens, expected: list[Expected]
) -> None:
    model = network(published)
    model.cut(1)
    parts = model(pack_sequences(tokens, SHUFFLED)).split(tokens.lengths[SHUFFLED].tolist())
    for hidden, protein in zip(parts, SHUFFLED.tolist(), strict=True):
        assert relative_error(hidden, expected[protein].first) < BOUND


def test_fused_names_and_shapes_are_the_networks(published: dict[str, Tensor]) -> None:
    ours = {name: tensor.shape for name, tensor in EsmC(CONFIG).state_dict().items()}
    assert {name: t.shape for name, t in fuse_published(published).items()} == ours
