"""DNABERT-S: a post-LayerNorm transformer over byte pairs with ALiBi and a gated feed-forward.

Source: Zhou et al., DNABERT-2 (ICLR 2024) and DNABERT-S (2024); weights `zhihan1996/DNABERT-S`.
The published layout is fused already but for the token-type embedding, which is one constant
vector here and is added into the word embedding at load.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.packing import Pack
from virnucpro.encoders.steps import Rows, Steps
from virnucpro.encoders.steps.plain import PlainSteps

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
    """The weights of norm(x + attention(x)), then norm(x + gated_feed_forward(x))."""

    def __init__(self, config: DnabertSConfig) -> None:
        super().__init__()
        width = config.width
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.gated = nn.Linear(width, 2 * config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, width)
        self.feed_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)


class DnabertS(nn.Module):
    """DNABERT-S without its pooler.

    Attributes:
        steps: how the steps of a block are computed.
    """

    def __init__(self, config: DnabertSConfig) -> None:
        super().__init__()
        self.config = config
        self.steps: Steps[Any] = PlainSteps()
        # As nn.Embedding draws it; drawing on the meta device would load PyTorch's compiler.
        embedding = torch.empty(config.vocabulary, config.width)
        if not embedding.is_meta:
            embedding.normal_()
        self.embedding = nn.Embedding.from_pretrained(embedding, freeze=False)
        self.norm = nn.LayerNorm(config.width, eps=_NORM_EPSILON)
        self.blocks = nn.ModuleList(DnabertSBlock(config) for _ in range(config.layers))

    def forward(self, pack: Pack) -> Tensor:
        """Return hidden_TD of the last layer."""
        steps, heads = self.steps, self.config.heads
        x_TD = steps.norm(self.embedding(pack.tokens_T), self.norm).values
        positions = steps.alibi(pack, heads, x_TD)
        for block in (cast("DnabertSBlock", block) for block in self.blocks):
            mixed = steps.attention(steps.product(Rows(x_TD), block.qkv), heads, positions)
            x_TD = steps.norm_of_sum(x_TD, mixed, block.out, block.attention_norm)
            hidden = steps.product_gated_gelu(Rows(x_TD), block.gated)
            x_TD = steps.norm_of_sum(x_TD, hidden, block.down, block.feed_norm)
        return x_TD

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32 over all tokens, the two special ones included."""
        return self.steps.mean_pool(self(pack), pack)


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
