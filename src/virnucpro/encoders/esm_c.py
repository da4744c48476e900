"""ESM C ("Cambrian"): a pre-LayerNorm transformer over residues with normalised queries and keys.

Source: ESM Team, "ESM Cambrian" (EvolutionaryScale, 2024), and the modules `esm.models.esmc` and
`esm.layers` of the package `esm` 3.2.1; weights `EvolutionaryScale/esmc-300m-2024-12` and
`esmc-600m-2024-12`. It reads ESM-2's tokens and differs from ESM-2 in this:

* Queries and keys pass through a LayerNorm over all heads at once before they are rotated.
* The feed-forward network is gated: SiLU of one product times another (SwiGLU).
* Products have no bias, nor have the LayerNorms of queries and keys and the last one.
* What a block adds to the stream is divided by sqrt(layers / 36). Here the weights of the products
  that add to the stream are divided by it at load.

The head that predicts masked residues is left out.
"""

import re
from typing import cast

from torch import Tensor, nn

from virnucpro.encoders.backends import KERNELS, PLAIN, cpu_steps, products
from virnucpro.encoders.network import Block, Transformer, TransformerConfig, Width
from virnucpro.encoders.packing import Pack
from virnucpro.encoders.spec import EncoderSpec, Layout, State
from virnucpro.encoders.steps.cpu import pair_rows
from virnucpro.encoders.tokens import protein_tokens

#: Layers of a network that adds to its stream undivided.
_UNDIVIDED_LAYERS = 36


class EsmCConfig(TransformerConfig, frozen=True, tag="esm_c"):
    """Sizes of an ESM C.

    Attributes:
        feed_forward: F, the width behind the gate.
        vocabulary: V.
    """

    feed_forward: Width
    vocabulary: Width


class EsmCBlock(Block):
    """The weights of x + attention(norm(x)), then x + gated_feed_forward(norm(x))."""

    def __init__(self, config: EsmCConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = nn.LayerNorm(width, bias=False)
        self.key_norm = nn.LayerNorm(width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.LayerNorm(width)
        self.gated = nn.Linear(width, 2 * config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, width, bias=False)


class EsmC(Transformer):
    """ESM C without its language-model head."""

    config: EsmCConfig
    trim = 1

    def __init__(self, config: EsmCConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(EsmCBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)

    def forward(self, pack: Pack) -> Tensor:
        """Return hidden_TD of the last layer, after the final LayerNorm if it is whole."""
        steps, heads = self.steps, self.config.heads
        x_TD = self.embedding(pack.tokens_T)
        positions = steps.rotary(pack, self.config.head_width, x_TD)
        blocks = [cast("EsmCBlock", block) for block in self.blocks]
        next_norms = [*(block.attention_norm for block in blocks[1:]), self.norm]
        normed = steps.norm(x_TD, blocks[0].attention_norm)
        for block, next_norm in zip(blocks, next_norms, strict=True):
            qkv_TE = steps.product(normed, block.qkv)
            qkv_TE = steps.norm_queries_keys(qkv_TE, block.query_norm, block.key_norm)
            mixed = steps.attention(qkv_TE, heads, positions)
            x_TD, normed = steps.add_norm(x_TD, mixed, block.out, block.feed_norm)
            hidden = steps.product_gated_silu(normed, block.gated)
            x_TD, normed = steps.add_norm(x_TD, hidden, block.down, next_norm)
        return normed.values if self.is_whole else x_TD


# Published name -> name here, within a block.
_PUBLISHED_BLOCK = {
    "attn.layernorm_qkv.0.weight": "attention_norm.weight",
    "attn.layernorm_qkv.0.bias": "attention_norm.bias",
    "attn.layernorm_qkv.1.weight": "qkv.weight",
    "attn.q_ln.weight": "query_norm.weight",
    "attn.k_ln.weight": "key_norm.weight",
    "attn.out_proj.weight": "out.weight",
    "ffn.0.weight": "feed_norm.weight",
    "ffn.0.bias": "feed_norm.bias",
    "ffn.1.weight": "gated.weight",
    "ffn.3.weight": "down.weight",
}
_BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.(.+)")


def fuse_published(state: State) -> dict[str, Tensor]:
    """Rename the published weights, and divide those that add to the stream."""
    blocks = [match for name in state if (match := _BLOCK.fullmatch(name))]
    divisor = (len({match[1] for match in blocks}) / _UNDIVIDED_LAYERS) ** 0.5
    fused = {
        "embedding.weight": state["embed.weight"],
        "norm.weight": state["transformer.norm.weight"],
    }
    for match in blocks:
        name, tensor = _PUBLISHED_BLOCK[match[2]], state[match[0]]
        if name in ("out.weight", "down.weight"):
            tensor = tensor.float() / divisor
        fused[f"blocks.{match[1]}.{name}"] = tensor
    return fused


_ESM = Layout(
    "esm",
    mark=re.compile(r"layernorm_qkv"),
    names=re.compile(
        r"embed\.weight|transformer\.norm\.weight|transformer\.blocks\.\d+\.(attn\.("
        r"layernorm_qkv\.(0\.(weight|bias)|1\.weight)|(q_ln|k_ln|out_proj)\.weight)"
        r"|ffn\.(0\.(weight|bias)|[13]\.weight))|sequence_head\.[023]\.(weight|bias)"
    ),
    fuse=fuse_published,
)


def _lookalike(state: State, *, has_config: bool) -> str:  # noqa: ARG001
    """Return which network with the names of an ESM C this is, or an empty string."""
    return "an ESM3" if any("geom_attn" in name for name in state) else ""


def _pair(network: EsmC) -> None:
    """Pair the rows of queries and keys, and the weights of their norms, for steps on a CPU."""
    heads = network.config.heads
    for block in (cast("EsmCBlock", block) for block in network.blocks):
        pair_rows(block.qkv, heads)
        for norm in (block.query_norm, block.key_norm):
            paired_D = norm.weight.detach().view(heads, 2, -1).transpose(1, 2).flatten()
            norm.weight = nn.Parameter(paired_D, requires_grad=False)


SPEC = EncoderSpec(
    title="ESM C",
    reads="protein",
    config=EsmCConfig,
    network=EsmC,
    backends=(products(gated="gated"), KERNELS, cpu_steps(_pair), PLAIN),
    layouts=(_ESM,),
    tokens=protein_tokens,
    lookalike=_lookalike,
)
