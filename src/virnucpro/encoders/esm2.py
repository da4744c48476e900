"""ESM-2: a pre-LayerNorm transformer over residues with rotary positions.

Source: Lin et al., Science 379:1123 (2023); weights `facebook/esm2_*`. The layout here is fused:
query, key and value are one product, and the rescaling of the token embedding that the published
code does at inference too (token dropout, x 0.88) is multiplied into the embedding at load.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.packing import Pack
from virnucpro.encoders.steps.plain import PlainSteps

if TYPE_CHECKING:
    from virnucpro.encoders.packed import PackedBlock
    from virnucpro.encoders.steps import Steps

#: 1 - 0.15 * 0.8: the share of tokens that training left unmasked (fair-esm, `ESM2.forward`).
TOKEN_DROPOUT_SCALE = 0.88


@dataclass(frozen=True)
class Esm2Config:
    """Sizes of an ESM-2.

    Attributes:
        layers: transformer blocks.
        width: D.
        heads: H; D / H must be even.
        vocabulary: V.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int = 33


class Esm2Block(nn.Module):
    """The weights of x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def ready(self) -> "Esm2Block":
        """Return the block to compute, this one; a packed one returns another."""
        return self


class Esm2(nn.Module):
    """ESM-2 without its contact and language-model heads.

    Attributes:
        steps: how the steps of a block are computed.
        blocks: each an `Esm2Block` or a `PackedBlock`.
        is_whole: whether the last block is that of the published network, whose sum the last
            LayerNorm follows; it does not follow where a network is cut off before.
    """

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.config = config
        self.steps: Steps[Any] = PlainSteps()
        # As nn.Embedding draws it; drawing on the meta device would load PyTorch's compiler.
        embedding = torch.empty(config.vocabulary, config.width)
        if not embedding.is_meta:
            embedding.normal_()
        self.embedding = nn.Embedding.from_pretrained(embedding, freeze=False)
        self.blocks = nn.ModuleList(Esm2Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.is_whole = True

    def forward(self, pack: Pack) -> Tensor:
        """Return hidden_TD of the last layer, after the final LayerNorm where it is whole."""
        return self.transform(self.embedding(pack.tokens_T), pack)

    def transform(self, x_TD: Tensor, pack: Pack) -> Tensor:
        """Return hidden_TD of tokens whose vectors are given."""
        steps, heads = self.steps, self.config.heads
        positions = steps.rotary(pack, self.config.width // heads, x_TD)
        blocks = [cast("Esm2Block | PackedBlock", block) for block in self.blocks]
        next_norms = [*(block.attention_norm for block in blocks[1:]), self.norm]
        normed = steps.norm(x_TD, blocks[0].attention_norm)
        for stored, next_norm in zip(blocks, next_norms, strict=True):
            block = stored.ready()
            qkv_TE = steps.product(normed, block.qkv)
            mixed = steps.attention(qkv_TE, heads, positions)
            x_TD, normed = steps.add_norm(x_TD, mixed, block.out, block.feed_norm)
            hidden = steps.product_gelu(normed, block.up)
            x_TD, normed = steps.add_norm(x_TD, hidden, block.down, next_norm)
        return normed.values if self.is_whole else x_TD

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32 over the residues, the first and last token left out."""
        return self.steps.mean_pool(self(pack), pack, trim=1)


# Published name -> fused name, within a block. Order in a tuple is order in the fused product.
_TRANSFORMERS_BLOCK = {
    "attention.LayerNorm": "attention_norm",
    "attention.output.dense": "out",
    "LayerNorm": "feed_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
}
_FAIR_ESM_BLOCK = {
    "self_attn_layer_norm": "attention_norm",
    "self_attn.out_proj": "out",
    "final_layer_norm": "feed_norm",
    "fc1": "up",
    "fc2": "down",
}


def fuse_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the weights of transformers' `EsmModel` or `EsmForMaskedLM` into the fused layout."""
    return _fuse(
        {name.removeprefix("esm."): tensor for name, tensor in state.items()},
        embedding="embeddings.word_embeddings.weight",
        block="encoder.layer.{}.",
        block_names=_TRANSFORMERS_BLOCK,
        qkv=tuple(f"attention.self.{x}" for x in ("query", "key", "value")),
        norm="encoder.emb_layer_norm_after",
    )


def fuse_fair_esm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the weights of fair-esm's `ESM2`, as in its .pt files, into the fused layout."""
    prefix = re.compile(r"^(encoder\.)?(sentence_encoder\.)?")
    return _fuse(
        {prefix.sub("", name): tensor for name, tensor in state.items()},
        embedding="embed_tokens.weight",
        block="layers.{}.",
        block_names=_FAIR_ESM_BLOCK,
        qkv=tuple(f"self_attn.{x}_proj" for x in "qkv"),
        norm="emb_layer_norm_after",
    )


def _fuse(
    state: Mapping[str, Tensor],
    *,
    embedding: str,
    block: str,
    block_names: Mapping[str, str],
    qkv: tuple[str, ...],
    norm: str,
) -> dict[str, Tensor]:
    fused = {"embedding.weight": state[embedding] * TOKEN_DROPOUT_SCALE}
    layers = 0
    while f"{block.format(layers)}{qkv[0]}.weight" in state:
        layers += 1
    for kind in ("weight", "bias"):
        fused[f"norm.{kind}"] = state[f"{norm}.{kind}"]
        for layer in range(layers):
            source, target = block.format(layer), f"blocks.{layer}."
            fused[f"{target}qkv.{kind}"] = torch.cat([state[f"{source}{x}.{kind}"] for x in qkv])
            for old, new in block_names.items():
                fused[f"{target}{new}.{kind}"] = state[f"{source}{old}.{kind}"]
    return fused
