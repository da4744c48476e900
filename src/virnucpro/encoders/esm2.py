"""ESM-2: a pre-LayerNorm transformer over residues with rotary positions.

Source: Lin et al., Science 379:1123 (2023); weights `facebook/esm2_*`. The layout here is fused:
query, key and value are one product. The published code rescales the token embedding at inference
too (token dropout, x 0.88); here that factor is multiplied into the embedding at load.
"""

import re
from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from virnucpro.encoders.backends import (
    KERNELS,
    PLAIN,
    Backend,
    cpu_int8,
    cpu_steps,
    kernels_unfit,
    products,
)
from virnucpro.encoders.network import Block, Transformer, TransformerConfig, Width
from virnucpro.encoders.packing import Pack, pack_sequences
from virnucpro.encoders.spec import EncoderSpec, Layout, State
from virnucpro.encoders.steps import int8
from virnucpro.encoders.steps.activations import sample_proteins, seen_in
from virnucpro.encoders.steps.cpu import pair_rows
from virnucpro.encoders.tokens import ESM2_VOCABULARY, protein_tokens

#: 1 - 0.15 * 0.8: the share of tokens that training left unmasked (fair-esm, `ESM2.forward`).
TOKEN_DROPOUT_SCALE = 0.88


class Esm2Config(TransformerConfig, frozen=True, tag="esm2"):
    """Sizes of an ESM-2.

    Attributes:
        vocabulary: V.
    """

    vocabulary: Width


class Esm2Block(Block):
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


class Esm2(Transformer):
    """ESM-2 without its contact and language-model heads."""

    config: Esm2Config
    trim = 1

    def __init__(self, config: Esm2Config) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(Esm2Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, pack: Pack) -> Tensor:
        """Return hidden_TD of the last layer, after the final LayerNorm if it is whole."""
        return self.transform(self.embedding(pack.tokens_T), pack)

    def transform(self, x_TD: Tensor, pack: Pack) -> Tensor:
        """Return hidden_TD of tokens with these vectors."""
        steps, heads = self.steps, self.config.heads
        positions = steps.rotary(pack, self.config.width // heads, x_TD)
        blocks = [cast("Esm2Block", block) for block in self.blocks]
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


# ---- published weights

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


def fuse_transformers(state: State) -> dict[str, Tensor]:
    """Fuse the weights of `EsmModel` or `EsmForMaskedLM` of transformers."""
    return _fuse(
        {name.removeprefix("esm."): tensor for name, tensor in state.items()},
        embedding="embeddings.word_embeddings.weight",
        block="encoder.layer.{}.",
        block_names=_TRANSFORMERS_BLOCK,
        qkv=tuple(f"attention.self.{x}" for x in ("query", "key", "value")),
        norm="encoder.emb_layer_norm_after",
    )


def fuse_fair_esm(state: State) -> dict[str, Tensor]:
    """Fuse the weights of fair-esm's `ESM2`, as its .pt files name them."""
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
    state: State,
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


_TRANSFORMERS = Layout(
    "transformers",
    mark=re.compile(r"attention\.self\.query\."),
    names=re.compile(
        r"(esm\.)?(embeddings\.(word_embeddings\.weight|position_ids|position_embeddings\.weight)"
        r"|encoder\.layer\.\d+\.(attention\.self\.(query|key|value)|attention\.LayerNorm"
        r"|attention\.output\.dense|LayerNorm|intermediate\.dense|output\.dense)\.(weight|bias)"
        r"|encoder\.emb_layer_norm_after\.(weight|bias)"
        r"|(encoder\.layer\.\d+\.attention\.self\.)?rotary_embeddings\.inv_freq"
        r"|(contact_head\.regression|pooler\.dense)\.(weight|bias))"
        r"|lm_head\.(bias|weight|(dense|layer_norm|decoder)\.(weight|bias))"
        r"|classifier\.((dense|out_proj)\.)?(weight|bias)"
    ),
    fuse=fuse_transformers,
    needs={
        "model_type": (None, "esm"),
        "position_embedding_type": ("absolute", "rotary"),
        "token_dropout": (False, True),
        "emb_layer_norm_before": (None, False),
        "layer_norm_eps": (1e-12, 1e-5),
        "hidden_act": ("gelu", "gelu"),
        "is_folding_model": (False, False),
        "is_decoder": (False, False),
        "add_cross_attention": (False, False),
        "rope_theta": (10000.0, 10000.0),
        "mask_token_id": (None, 32),
        "pad_token_id": (None, 1),
    },
)
_FAIR_ESM = Layout(
    "fair-esm",
    mark=re.compile(r"embed_tokens\.weight$"),
    names=re.compile(
        r"(encoder\.)?(sentence_encoder\.)?(embed_tokens\.weight"
        r"|layers\.\d+\.(self_attn\.([qkv]|out)_proj|self_attn_layer_norm|final_layer_norm|fc1|fc2)"
        r"\.(weight|bias)|layers\.\d+\.self_attn\.rot_emb\.inv_freq"
        r"|emb_layer_norm_after\.(weight|bias)|contact_head\.regression\.(weight|bias)"
        r"|lm_head\.(bias|weight|(dense|layer_norm)\.(weight|bias)))"
    ),
    fuse=fuse_fair_esm,
    needs=_TRANSFORMERS.needs,
)

#: Rows of the token embedding -> the network with that vocabulary.
_VOCABULARIES = {
    446: "SaProt",
    4105: "Nucleotide Transformer",
    4107: "Nucleotide Transformer",
}
#: Tensors that only a BERT with an embedding of positions, or with other layers, has.
_BERT = re.compile(r"attention\.output\.LayerNorm\.|token_type_embeddings")
_ROTARY = re.compile(r"(rot_emb|rotary_embeddings)\.inv_freq$")
_ROTARY_BASE = 10_000.0
#: Relative difference of rotary frequencies that were stored in fp16.
_ROTARY_TOLERANCE = 2e-2


def _lookalike(state: State, *, has_config: bool) -> str:
    """Return which network with the names of an ESM-2 this is, or an empty string."""
    rows = [
        len(tensor)
        for name, tensor in state.items()
        if name.endswith(("word_embeddings.weight", "embed_tokens.weight")) and tensor.dim()
    ]
    if rows and rows[0] != len(ESM2_VOCABULARY):
        is_bert = any(_BERT.search(name) for name in state)
        other = "a BERT, such as ProtBert or DNABERT" if is_bert else "another network"
        return (
            f"{_VOCABULARIES.get(rows[0], other)} (its vocabulary has {rows[0]:,} tokens, that of "
            f"ESM-2 has {len(ESM2_VOCABULARY)})"
        )
    has_rotary = any(_ROTARY.search(name) for name in state)
    if not has_rotary and not has_config and any("position" in name for name in state):
        return "an ESM-1v or the like, with learned positions"
    return ""


def _fault(state: State, config: Esm2Config) -> str:
    """Return which rotary positions turn at other frequencies than those of ESM-2."""
    expected = _ROTARY_BASE ** -(torch.arange(0, config.head_width, 2) / config.head_width)
    for name, found in state.items():
        if not _ROTARY.search(name):
            continue
        is_alike = found.shape == expected.shape
        if not is_alike or not torch.allclose(found.float(), expected, rtol=_ROTARY_TOLERANCE):
            return f"its rotary positions ({name[:100]}) are of other frequencies"
    return ""


# ---- backends


def _pair_rows(network: Esm2) -> None:
    for block in cast("Iterable[Esm2Block]", network.blocks):
        pair_rows(block.qkv, network.config.heads)


def _sample_pack() -> Pack:
    tokens = protein_tokens(*sample_proteins())
    return pack_sequences(tokens, np.arange(len(tokens.lengths)))


def _quantise(network: Esm2) -> None:
    int8.quantise(network, seen_in(network, _sample_pack()), is_centred=network.is_whole)


def _use_fp8(network: Esm2) -> None:
    from virnucpro.encoders.steps import fp8  # noqa: PLC0415 (needs Triton)

    seen = seen_in(network, _sample_pack())
    fp8.quantise(network, {module: of.mean_K for module, of in seen.items()})


_BACKENDS = (
    Backend(
        "8-bit products and kernels in Triton", "cuda", frozenset({"fp8"}), _use_fp8,
        unfit=kernels_unfit,
    ),
    products(),
    KERNELS,
    cpu_int8(_quantise),
    cpu_steps(_pair_rows),
    PLAIN,
)  # fmt: skip

SPEC = EncoderSpec(
    title="ESM-2",
    reads="protein",
    config=Esm2Config,
    network=Esm2,
    backends=_BACKENDS,
    layouts=(_TRANSFORMERS, _FAIR_ESM),
    tokens=protein_tokens,
    packs=True,
    lookalike=_lookalike,
    fault=_fault,
)
