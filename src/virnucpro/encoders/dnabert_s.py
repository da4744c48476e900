"""DNABERT-S: a post-LayerNorm transformer over byte pairs with ALiBi and a gated feed-forward.

Source: Zhou et al., DNABERT-2 (ICLR 2024) and DNABERT-S (2024); weights `zhihan1996/DNABERT-S`.
The published layout is fused already but for the token-type embedding, which is one constant
vector here and is added into the word embedding at load.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from virnucpro.encoders.attention import attention
from virnucpro.encoders.packing import Pack, mean_pool

#: Epsilon of every LayerNorm (`layer_norm_eps` of the published configuration).
_NORM_EPSILON = 1e-12


@dataclass(frozen=True)
class DnabertSConfig:
    """Sizes of a DNABERT-S.

    Attributes:
        layers: transformer blocks.
        width: D.
        heads: H.
        feed_forward: F, the width behind the gate.
        vocabulary: V.
    """

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int = 4096


class DnabertSBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + gated_feed_forward(x))."""

    def __init__(self, config: DnabertSConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.gated = nn.Linear(width, 2 * config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, width)
        self.feed_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)

    def forward(self, x_TD: Tensor, pack: Pack, biases: list[Tensor]) -> Tensor:
        """Return x_TD of the next block."""
        q_THA, k_THA, v_THA = self.qkv(x_TD).unflatten(1, (3, self.heads, -1)).unbind(1)
        mixed_THA = attention(q_THA, k_THA, v_THA, pack, biases)
        x_TD = self.attention_norm(x_TD + self.out(mixed_THA.flatten(1)))
        gate_TF, value_TF = self.gated(x_TD).chunk(2, dim=1)
        normed_TD: Tensor = self.feed_norm(x_TD + self.down(gelu(gate_TF) * value_TF))
        return normed_TD


class DnabertS(nn.Module):
    """DNABERT-S without its pooler."""

    def __init__(self, config: DnabertSConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.norm = nn.LayerNorm(config.width, eps=_NORM_EPSILON)
        self.blocks = nn.ModuleList(DnabertSBlock(config) for _ in range(config.layers))

    def forward(self, pack: Pack) -> Tensor:
        """Return hidden_TD of the last layer."""
        x_TD: Tensor = self.norm(self.embedding(pack.tokens_T))
        slopes_H = alibi_slopes(self.config.heads).to(x_TD.device)
        biases = [alibi_bias(slopes_H, run.length).to(x_TD.dtype) for run in pack.runs]
        for block in self.blocks:
            x_TD = block(x_TD, pack, biases)
        return x_TD

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32 over all tokens, the two special ones included."""
        return mean_pool(self(pack), pack)


def alibi_slopes(heads: int) -> Tensor:
    """Return the slope of each head, shape (H,).

    Source: Press et al., ALiBi (2022): a geometric series, and where H is no power of two, the
    series of the next smaller power followed by every other slope of the next larger one.
    """
    smaller = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / smaller) for i in range(smaller)]
    slopes += [2.0 ** (-4.0 * (i + 1) / smaller) for i in range(0, 2 * (heads - smaller), 2)]
    return torch.tensor(slopes)


def alibi_bias(slopes_H: Tensor, length: int) -> Tensor:
    """Return -slope * |i - j|, shape (H, L, L)."""
    position = torch.arange(length, device=slopes_H.device, dtype=torch.float32)
    return -slopes_H[:, None, None] * (position[:, None] - position).abs()


_PUBLISHED_BLOCK = {
    "attention.self.Wqkv.weight": "qkv.weight",
    "attention.self.Wqkv.bias": "qkv.bias",
    "attention.output.dense.weight": "out.weight",
    "attention.output.dense.bias": "out.bias",
    "attention.output.LayerNorm.weight": "attention_norm.weight",
    "attention.output.LayerNorm.bias": "attention_norm.bias",
    "mlp.gated_layers.weight": "gated.weight",
    "mlp.wo.weight": "down.weight",
    "mlp.wo.bias": "down.bias",
    "mlp.layernorm.weight": "feed_norm.weight",
    "mlp.layernorm.bias": "feed_norm.bias",
}


def fuse_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the published weights, with or without the `bert.` prefix, into the fused layout."""
    state = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    words, types = (state[f"embeddings.{x}_embeddings.weight"] for x in ("word", "token_type"))
    fused = {
        "embedding.weight": words + types[0],
        "norm.weight": state["embeddings.LayerNorm.weight"],
        "norm.bias": state["embeddings.LayerNorm.bias"],
    }
    for name, tensor in state.items():
        match = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)
        if match:
            fused[f"blocks.{match[1]}.{_PUBLISHED_BLOCK[match[2]]}"] = tensor
    return fused
