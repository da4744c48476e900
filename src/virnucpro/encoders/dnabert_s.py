"""DNABERT-S: a post-LayerNorm transformer over byte pairs with ALiBi and a gated feed-forward.

Source: Zhou et al., DNABERT-2 (ICLR 2024) and DNABERT-S (2024); weights `zhihan1996/DNABERT-S`.
The published layout is fused already, except for the token-type embedding: it is one constant
vector, which is added to the word embedding at load.
"""

import re
from typing import cast

from torch import Tensor, nn

from virnucpro.encoders.backends import KERNELS, PLAIN, cpu_steps, products
from virnucpro.encoders.network import Block, Transformer, TransformerConfig, Width
from virnucpro.encoders.packing import Pack
from virnucpro.encoders.spec import EncoderSpec, Layout, State
from virnucpro.encoders.steps import Rows

#: Epsilon of every LayerNorm (`layer_norm_eps` of the published configuration).
_NORM_EPSILON = 1e-12


class DnabertSConfig(TransformerConfig, frozen=True, tag="dnabert_s"):
    """Sizes of a DNABERT-S.

    Attributes:
        feed_forward: F, the width behind the gate.
        vocabulary: V.
    """

    feed_forward: Width
    vocabulary: Width


class DnabertSBlock(Block):
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


class DnabertS(Transformer):
    """DNABERT-S without its pooler; its means include the two special tokens."""

    config: DnabertSConfig
    trim = 0

    def __init__(self, config: DnabertSConfig) -> None:
        super().__init__(config)
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


def fuse_published(state: State) -> dict[str, Tensor]:
    """Fuse the published weights, with or without the `bert.` prefix."""
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


_PUBLISHED = Layout(
    "transformers",
    mark=re.compile(r"Wqkv"),
    names=re.compile(
        r"(bert\.)?(embeddings\.((word|token_type)_embeddings\.weight|LayerNorm\.(weight|bias)"
        r"|position_ids)|encoder\.layer\.\d+\.(attention\.self\.Wqkv|attention\.output\.dense"
        r"|attention\.output\.LayerNorm|mlp\.(gated_layers|wo|layernorm))\.(weight|bias)"
        r"|pooler\.dense\.(weight|bias))|cls\.(predictions|seq_relationship)\.[\w.]+"
        r"|(classifier|contrast_head)\.([\w.]+\.)?(weight|bias)"
    ),
    fuse=fuse_published,
    needs={
        "model_type": ("bert", "bert"),
        "layer_norm_eps": (1e-12, 1e-12),
        "hidden_act": ("gelu", "gelu"),
        "is_decoder": (False, False),
        "add_cross_attention": (False, False),
    },
)

SPEC = EncoderSpec(
    title="DNABERT-S",
    reads="dna",
    config=DnabertSConfig,
    network=DnabertS,
    backends=(products(gated="gated"), KERNELS, cpu_steps(), PLAIN),
    layouts=(_PUBLISHED,),
)
