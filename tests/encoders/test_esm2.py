"""ESM-2 against transformers and fair-esm, on one pack of mixed lengths."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pytest
import torch
from esm.model.esm2 import ESM2
from torch import Tensor, nn
from transformers import EsmConfig, EsmForMaskedLM, EsmModel

from conftest import relative_error, tokens_of
from virnucpro.encoders import Esm2, Esm2Config, Tokens, pack_sequences
from virnucpro.encoders.esm2 import fuse_fair_esm, fuse_transformers
from virnucpro.encoders.positions import rotary_tables, rotate

CONFIG = Esm2Config(layers=3, width=64, heads=2, vocabulary=33)
#: In no order, some alike, from one token to more than any published context.
LENGTHS = [1, 3, 3000, 50, 50, 17, 1, 257]
BOUND = 1e-5


class Parity(NamedTuple):
    """The same random weights in both implementations.

    Attributes:
        network: ours.
        expected: the reference's hidden states of each sequence.
    """

    network: Esm2
    expected: list[Tensor]


def randomise(reference: nn.Module) -> None:
    """Draw all weights anew, large enough that attention is far from uniform."""
    torch.manual_seed(5)
    for name, parameter in reference.named_parameters():
        is_norm = "layer_norm" in name.lower() or "LayerNorm" in name
        mean = 1.0 if is_norm and name.endswith("weight") else 0.0
        nn.init.normal_(parameter, mean=mean, std=0.2)


def esm_config(config: Esm2Config) -> EsmConfig:
    return EsmConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        max_position_embeddings=4000,
        position_embedding_type="rotary",
        token_dropout=True,
        layer_norm_eps=1e-5,
        emb_layer_norm_before=False,
        pad_token_id=1,
        mask_token_id=32,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
    )


def fused(state: Mapping[str, Tensor]) -> Esm2:
    network = Esm2(CONFIG)
    network.load_state_dict(dict(state))
    return network.eval()


def sequences() -> Tokens:
    """Return residues of every kind between <cls> and <eos>, as far as the length allows."""
    tokens = tokens_of(LENGTHS, 4, 31)
    tokens.ids[tokens.offsets[1:] - 1] = 2
    tokens.ids[tokens.offsets[:-1]] = 0
    return tokens


def reference_states(hidden_of: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Run a reference on each sequence by itself."""
    tokens = sequences()
    ids = torch.from_numpy(tokens.ids).split(tokens.lengths.tolist())
    with torch.inference_mode():
        return [hidden_of(row[None])[0] for row in ids]


def with_transformers() -> Parity:
    reference = EsmModel(esm_config(CONFIG), add_pooling_layer=False).eval()
    randomise(reference)
    expected = reference_states(lambda ids: reference(input_ids=ids).last_hidden_state)
    return Parity(fused(fuse_transformers(reference.state_dict())), expected)


def with_fair_esm() -> Parity:
    reference = ESM2(CONFIG.layers, CONFIG.width, CONFIG.heads, alphabet="ESM-1b").eval()
    randomise(reference)
    last = CONFIG.layers
    expected = reference_states(
        lambda ids: reference(ids, repr_layers=[last])["representations"][last]
    )
    return Parity(fused(fuse_fair_esm(reference.state_dict())), expected)


REFERENCES: dict[str, Callable[[], Parity]] = {
    "transformers": with_transformers,
    "fair-esm": with_fair_esm,
}


@pytest.fixture(scope="module", params=REFERENCES)
def parity(request: pytest.FixtureRequest) -> Parity:
    return REFERENCES[request.param]()


@torch.inference_mode()
def test_hidden_states_equal_the_reference(parity: Parity) -> None:
    pack = pack_sequences(sequences(), np.arange(len(LENGTHS)))
    found = parity.network(pack).split(LENGTHS)
    for ours, theirs in zip(found, parity.expected, strict=True):
        assert ours.shape == theirs.shape
        assert relative_error(ours, theirs) < BOUND


@torch.inference_mode()
def test_means_are_over_the_residues_alone(parity: Parity) -> None:
    which = np.flatnonzero(np.array(LENGTHS) >= 3)
    found = parity.network.embed(pack_sequences(sequences(), which))
    assert found.dtype == torch.float32
    for ours, sequence in zip(found, which.tolist(), strict=True):
        residues = parity.expected[sequence][1:-1]
        assert relative_error(ours, residues.mean(dim=0)) < BOUND


@torch.inference_mode()
@pytest.mark.parametrize("sequence", range(len(LENGTHS)))
def test_a_sequence_does_not_see_its_neighbours(parity: Parity, sequence: int) -> None:
    tokens = sequences()
    alone = parity.network(pack_sequences(tokens, np.array([sequence])))
    others = np.array([3, sequence, 5, 4])
    among = parity.network(pack_sequences(tokens, others))
    lengths = tokens.lengths[others].tolist()
    torch.testing.assert_close(among.split(lengths)[1], alone, rtol=1e-5, atol=1e-5)


def assert_same_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_weights_of_the_masked_language_model_are_taken() -> None:
    reference = EsmForMaskedLM(esm_config(CONFIG))
    state = reference.state_dict()
    assert {name.partition(".")[0] for name in state} == {"esm", "lm_head"}
    found = fuse_transformers(state)
    assert_same_weights(found, fuse_transformers(reference.esm.state_dict()))
    fused(found)


def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name fair-esm's weights as its .pt files do."""
    return {
        f"encoder.{'' if name.startswith('lm_head') else 'sentence_encoder.'}{name}": tensor
        for name, tensor in state.items()
    }


def test_weights_with_the_prefixes_of_the_published_files_are_taken() -> None:
    state = ESM2(CONFIG.layers, CONFIG.width, CONFIG.heads, alphabet="ESM-1b").state_dict()
    found = fuse_fair_esm(published_names(state))
    assert_same_weights(found, fuse_fair_esm(state))
    fused(found)


@pytest.mark.parametrize("library", ["transformers", "fair-esm"])
def test_fused_names_and_shapes_at_the_published_size(library: str) -> None:
    config = Esm2Config(layers=36, width=2560, heads=40, vocabulary=33)
    with torch.device("meta"):
        ours = Esm2(config).state_dict()
        if library == "fair-esm":
            theirs = ESM2(config.layers, config.width, config.heads, alphabet="ESM-1b")
            found = fuse_fair_esm(published_names(theirs.state_dict()))
        else:
            found = fuse_transformers(EsmForMaskedLM(esm_config(config)).state_dict())
    assert {k: t.shape for k, t in found.items()} == {k: t.shape for k, t in ours.items()}


def test_rotation_turns_each_pair_by_position_times_frequency() -> None:
    width, positions = 8, torch.tensor([0, 1, 2999])
    x_TNHA = torch.randn(3, 2, 1, width, generator=torch.Generator().manual_seed(0))
    found = rotate(x_TNHA, *rotary_tables(positions, width, torch.float32))
    pairs = torch.view_as_complex(
        torch.stack(x_TNHA.double().chunk(2, dim=-1), dim=-1).contiguous()
    )
    frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = positions.double()[:, None, None, None] * frequency
    turned = pairs * torch.polar(torch.ones_like(angle), angle)
    expected = torch.cat([turned.real, turned.imag], dim=-1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[:2].double(), expected[:2], rtol=1e-5, atol=1e-6)
