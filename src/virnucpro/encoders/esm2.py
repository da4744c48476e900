"""ESM-2: a pre-LayerNorm transformer over residues with rotary positions.

Source: Lin et al., Science 379:1123 (2023); weights `facebook/esm2_*`. The layout here is fused:
query, key and value are one product, and the rescaling of the token embedding that the published
code does at inference too (token dropout, x 0.88) is multiplied into the embedding at load.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from virnucpro.encoders.attention import attention
from virnucpro.encoders.packing import Pack, mean_pool

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
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x_TD: Tensor, pack: Pack, cos_T1A: Tensor, sin_T1A: Tensor) -> Tensor:
        """Return x_TD of the next block."""
        qkv_T3HA = self.qkv(self.attention_norm(x_TD)).unflatten(1, (3, self.heads, -1))
        q_THA, k_THA = rotate(qkv_T3HA[:, :2], cos_T1A, sin_T1A).unbind(1)
        mixed_THA = attention(q_THA, k_THA, qkv_T3HA[:, 2], pack)
        x_TD = x_TD + self.out(mixed_THA.flatten(1))
        hidden_TF: Tensor = gelu(self.up(self.feed_norm(x_TD)))
        return torch.add(x_TD, self.down(hidden_TF))


class Esm2(nn.Module):
    """ESM-2 without its contact and language-model heads."""

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Esm2Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, pack: Pack) -> Tensor:
        """Return hidden_TD of the last layer after the final LayerNorm."""
        x_TD = self.embedding(pack.tokens_T)
        cos_T1A, sin_T1A = rotary_tables(
            pack.positions_T, self.config.width // self.config.heads, x_TD.dtype
        )
        for block in self.blocks:
            x_TD = block(x_TD, pack, cos_T1A, sin_T1A)
        normed_TD: Tensor = self.norm(x_TD)
        return normed_TD

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32 over the residues, the first and last token left out."""
        return mean_pool(self(pack), pack, trim=1)


def rotary_tables(positions_T: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cos_T1A and sin_T1A of the rotary angles, shaped (T, 1, 1, A / 2).

    Source: Su et al., RoFormer (2021), base 10,000; angles are computed in fp32.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=positions_T.device) / size
    angles = positions_T.float()[:, None] * (1.0 / 10000.0**exponents)
    return angles.cos().to(dtype)[:, None, None], angles.sin().to(dtype)[:, None, None]


def rotate(x_TNHA: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + A / 2) of each head by the token's angles."""
    cos, sin = cos.to(x_TNHA.dtype), sin.to(x_TNHA.dtype)
    low, high = x_TNHA.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


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
