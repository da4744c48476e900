"""Other implementations of ESM-2, with the weights of ours and batched as their users do."""

from collections.abc import Iterator

import numpy as np
import torch
from esm.model.esm2 import ESM2
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import EsmConfig, EsmModel

from virnucpro.encoders import Esm2, Tokens
from virnucpro.encoders.esm2 import TOKEN_DROPOUT_SCALE
from virnucpro.encoders.tokens import ESM2_PAD

_QKV = ("query", "key", "value")
#: Which sequences a padded batch holds, and their ids.
Batch = tuple[NDArray[np.int64], Tensor]


def fair_esm(network: Esm2) -> ESM2:
    """Return fair-esm's ESM-2 in fp32 with the weights of a network, on its device."""
    config, device = network.config, network.embedding.weight.device
    with torch.device("meta"):
        reference = ESM2(config.layers, config.width, config.heads, alphabet="ESM-1b")
    names = {
        "attention_norm": "self_attn_layer_norm", "out": "self_attn.out_proj",
        "feed_norm": "final_layer_norm", "up": "fc1", "down": "fc2",
    }  # fmt: skip
    state = _unfused(network, "layers.{}.", names, "self_attn.{}_proj", ("q", "k", "v"))
    state["embed_tokens.weight"] = network.embedding.weight.float() / TOKEN_DROPOUT_SCALE
    for kind in ("weight", "bias"):
        state[f"emb_layer_norm_after.{kind}"] = network.norm.get_parameter(kind).float()
    reference = reference.to_empty(device=device)
    reference.load_state_dict(state, strict=False)
    for layer in reference.layers:  # rotary frequencies are no part of the weights
        rotary = layer.self_attn.rot_emb
        size = config.width // config.heads
        exponents = torch.arange(0, size, 2, device=device).float() / size
        rotary.inv_freq = 1.0 / 10000**exponents
        rotary._seq_len_cached = None  # noqa: SLF001
    return reference.eval().requires_grad_(requires_grad=False)


def transformers_esm(network: Esm2, dtype: torch.dtype) -> EsmModel:
    """Return transformers' ESM-2 with the weights of a network, on its device."""
    config, device = network.config, network.embedding.weight.device
    settings = EsmConfig(
        vocab_size=config.vocabulary, hidden_size=config.width, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, intermediate_size=4 * config.width,
        position_embedding_type="rotary", token_dropout=True, layer_norm_eps=1e-5,
        emb_layer_norm_before=False, pad_token_id=ESM2_PAD, mask_token_id=32,
        attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0, attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device(device):
        reference = EsmModel(settings, add_pooling_layer=False).to(dtype)
    names = {
        "attention_norm": "attention.LayerNorm", "out": "attention.output.dense",
        "feed_norm": "LayerNorm", "up": "intermediate.dense", "down": "output.dense",
    }  # fmt: skip
    state = _unfused(network, "encoder.layer.{}.", names, "attention.self.{}", _QKV)
    words = network.embedding.weight.float() / TOKEN_DROPOUT_SCALE
    state["embeddings.word_embeddings.weight"] = words
    for kind in ("weight", "bias"):
        state[f"encoder.emb_layer_norm_after.{kind}"] = network.norm.get_parameter(kind)
    missing = reference.load_state_dict(state, strict=False).missing_keys
    own = ("inv_freq", "position", "contact")
    if not all(any(part in name for part in own) for name in missing):
        raise ValueError(f"transformers has other weights: {missing}")
    return reference.eval().requires_grad_(requires_grad=False)


def _unfused(
    network: Esm2, prefix: str, names: dict[str, str], qkv: str, parts: tuple[str, ...]
) -> dict[str, Tensor]:
    state = {}
    for index, block in enumerate(network.blocks):
        for kind in ("weight", "bias"):
            fused = block.get_submodule("qkv").get_parameter(kind).chunk(3)
            for part, tensor in zip(parts, fused, strict=True):
                state[f"{prefix.format(index)}{qkv.format(part)}.{kind}"] = tensor
            for ours, theirs in names.items():
                tensor = block.get_submodule(ours).get_parameter(kind)
                state[f"{prefix.format(index)}{theirs}.{kind}"] = tensor
    return state


def padded_batches(tokens: Tokens, token_budget: int, device: torch.device) -> list[Batch]:
    """Cut sequences, sorted by length, into padded batches of at most `token_budget` tokens."""
    return list(_batches(tokens, token_budget, device))


def _batches(tokens: Tokens, token_budget: int, device: torch.device) -> Iterator[Batch]:
    order = np.argsort(tokens.lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order) and tokens.lengths[order[stop]] * (stop + 1 - start) <= token_budget
        ):
            stop += 1
        which = order[start:stop]
        ids = torch.full((len(which), int(tokens.lengths[which].max())), ESM2_PAD)
        for row, sequence in zip(ids, which.tolist(), strict=True):
            own = tokens.ids[tokens.offsets[sequence] : tokens.offsets[sequence + 1]]
            row[: len(own)] = torch.from_numpy(own)
        yield which, ids.to(device)
        start = stop


@torch.inference_mode()
def reference_means(reference: nn.Module, batches: list[Batch]) -> Tensor:
    """Return the means over residues that a reference gives, in the order of the sequences."""
    rows, places = [], []
    for which, ids in batches:
        known = ids != ESM2_PAD
        for row, length in zip(hidden_of(reference, ids), known.sum(dim=1).tolist(), strict=True):
            rows.append(row[1 : length - 1].float().mean(dim=0))
        places.append(which)
    inverse = np.argsort(np.concatenate(places))
    return torch.stack(rows)[torch.from_numpy(inverse).to(rows[0].device)]


@torch.inference_mode()
def hidden_of(reference: nn.Module, ids: Tensor) -> Tensor:
    """Return the last hidden states of a padded batch."""
    if isinstance(reference, ESM2):
        last = reference.num_layers
        hidden: Tensor = reference(ids, repr_layers=[last])["representations"][last]
    else:
        known = (ids != ESM2_PAD).long()
        hidden = reference(input_ids=ids, attention_mask=known).last_hidden_state
    return hidden
