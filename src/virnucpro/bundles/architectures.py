"""What a checkpoint is, by the names, shapes and types of all its tensors and its `config.json`.

Networks that resemble ESM-2 and DNABERT-S have tensors of the same names and compute something
else. Nothing is taken for one of the two unless everything fits.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from virnucpro.encoders.tokens import ESM2_VOCABULARY
from virnucpro.errors import BundleError

State = Mapping[str, Tensor]

#: A tensor's name -> the network that has one; the first that is found counts.
_OTHERS = (
    (r"lora_[AB]\.", "a LoRA adapter, or a network with one; merge it into its model first"),
    (r"\.SCB$|\.(weight_)?qweight$|\.absmax$|quant_state", "quantised; give the original weights"),
    (r"msa_position_embedding|\.row_self_attention\.", "an MSA Transformer"),
    (r"^esm_s_combine$|^trunk\.", "an ESMFold"),
    (r"layernorm_qkv", "an ESM C or ESM3"),
    (r"relative_attention_bias", "a T5, such as ProtT5 or Ankh"),
    (r"^(transformer\.)?h\.\d+\.", "a GPT, such as ProtGPT2"),
    (r"self_attn\.bias_k$|^embed_out$", "an ESM-1"),
    (r"emb_layer_norm_before\.|embeddings\.layer_norm\.weight$", "an ESM-1b"),
)
#: Rows of the token embedding -> whose vocabulary that is.
_VOCABULARIES = {
    446: "SaProt",
    4105: "Nucleotide Transformer",
    4107: "Nucleotide Transformer",
}
#: What only BERT with an embedding of positions, or of other layers, has.
_BERT = re.compile(r"attention\.output\.LayerNorm\.|token_type_embeddings")

#: ESM-2's tensors as transformers and as fair-esm name them; those that are not used among them.
_ESM2_NAMES = {
    "transformers": re.compile(
        r"(esm\.)?(embeddings\.(word_embeddings\.weight|position_ids|position_embeddings\.weight)"
        r"|encoder\.layer\.\d+\.(attention\.self\.(query|key|value)|attention\.LayerNorm"
        r"|attention\.output\.dense|LayerNorm|intermediate\.dense|output\.dense)\.(weight|bias)"
        r"|encoder\.emb_layer_norm_after\.(weight|bias)"
        r"|(encoder\.layer\.\d+\.attention\.self\.)?rotary_embeddings\.inv_freq"
        r"|(contact_head\.regression|pooler\.dense)\.(weight|bias))"
        r"|lm_head\.(bias|weight|(dense|layer_norm|decoder)\.(weight|bias))"
        r"|classifier\.((dense|out_proj)\.)?(weight|bias)"
    ),
    "fair-esm": re.compile(
        r"(encoder\.)?(sentence_encoder\.)?(embed_tokens\.weight"
        r"|layers\.\d+\.(self_attn\.([qkv]|out)_proj|self_attn_layer_norm|final_layer_norm|fc1|fc2)"
        r"\.(weight|bias)|layers\.\d+\.self_attn\.rot_emb\.inv_freq"
        r"|emb_layer_norm_after\.(weight|bias)|contact_head\.regression\.(weight|bias)"
        r"|lm_head\.(bias|weight|(dense|layer_norm)\.(weight|bias)))"
    ),
}
_DNABERT_S_NAMES = re.compile(
    r"(bert\.)?(embeddings\.((word|token_type)_embeddings\.weight|LayerNorm\.(weight|bias)"
    r"|position_ids)|encoder\.layer\.\d+\.(attention\.self\.Wqkv|attention\.output\.dense"
    r"|attention\.output\.LayerNorm|mlp\.(gated_layers|wo|layernorm))\.(weight|bias)"
    r"|pooler\.dense\.(weight|bias))|cls\.(predictions|seq_relationship)\.[\w.]+"
    r"|(classifier|contrast_head)\.([\w.]+\.)?(weight|bias)"
)

#: What transformers takes where `config.json` does not say it -> and what ESM-2 needs.
_ESM2_CONFIG = {
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
}
_DNABERT_S_CONFIG = {
    "model_type": ("bert", "bert"),
    "layer_norm_eps": (1e-12, 1e-12),
    "hidden_act": ("gelu", "gelu"),
    "is_decoder": (False, False),
    "add_cross_attention": (False, False),
}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32)
#: Tensors that count and are no weights.
_COUNTERS = re.compile(r"position_ids$|num_batches_tracked$")
_ROTARY = re.compile(r"(rot_emb|rotary_embeddings)\.inv_freq$")
_ROTARY_BASE = 10_000.0
#: Relative difference of rotary frequencies that were stored in fp16.
_ROTARY_TOLERANCE = 2e-2


def check_esm2(state: State, config: Mapping[str, Any] | None, where: str) -> None:
    """Refuse what is not an ESM-2, by the name of what it is.

    Args:
        state: all tensors of the checkpoint.
        config: transformers' `config.json`, where there is one.
        where: the file, for the message.

    Raises:
        BundleError: when names, types or configuration are not those of an ESM-2.
    """
    for pattern, what in _OTHERS:
        if any(re.search(pattern, name) for name in state):
            raise BundleError(f"{where}: {_not_ours(what)}")
    kind = "fair-esm" if any(n.endswith("embed_tokens.weight") for n in state) else "transformers"
    _check_vocabulary(state, where)
    has_rotary = any(_ROTARY.search(name) for name in state)
    if config is not None:
        _check_config(config, _ESM2_CONFIG, "ESM-2", where)
    if not has_rotary and config is None and any("position" in name for name in state):
        raise BundleError(f"{where}: {_not_ours('an ESM-1v or the like, with learned positions')}")
    _check_names(state, _ESM2_NAMES[kind], "ESM-2", where)
    check_types(state, where)


def check_dnabert_s(state: State, config: Mapping[str, Any] | None, where: str) -> None:
    """Refuse what is not a DNABERT-S; see `check_esm2`."""
    if config is not None:
        _check_config(config, _DNABERT_S_CONFIG, "DNABERT-S", where)
    _check_names(state, _DNABERT_S_NAMES, "DNABERT-S", where)
    check_types(state, where)


def check_sizes(config: Mapping[str, Any] | None, sizes: Mapping[str, int], where: str) -> None:
    """Compare the sizes that `config.json` says with those of the tensors.

    Raises:
        BundleError: when one differs.
    """
    for key, size in sizes.items():
        said = size if config is None else config.get(key, size)
        if said != size:
            raise BundleError(
                f"{where}: config.json says {key} {_quoted(said)} where the tensors have {size}; "
                "get both again"
            )


def check_rotary(state: State, head_width: int, where: str) -> None:
    """Refuse rotary positions that turn at other frequencies than ESM-2's.

    Raises:
        BundleError: when they do.
    """
    expected = _ROTARY_BASE ** -(torch.arange(0, head_width, 2) / head_width)
    for name, found in state.items():
        if not _ROTARY.search(name):
            continue
        is_alike = found.shape == expected.shape
        if not is_alike or not torch.allclose(found.float(), expected, rtol=_ROTARY_TOLERANCE):
            raise BundleError(
                f"{where}: is not ESM-2: its rotary positions ({name[:100]}) are of other "
                "frequencies; give the weights of ESM-2"
            )


def check_types(state: State, where: str) -> None:
    """Refuse weights that are not fp16, bf16 or fp32.

    Raises:
        BundleError: when one is of another type.
    """
    for name, tensor in state.items():
        if tensor.dtype not in _FLOATS and not _COUNTERS.search(name):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise BundleError(
                f"{where}: {name[:100]} is {kind}; save the weights as float32, bfloat16 or float16"
            )


def _check_vocabulary(state: State, where: str) -> None:
    rows = [
        len(tensor)
        for name, tensor in state.items()
        if name.endswith(("word_embeddings.weight", "embed_tokens.weight")) and tensor.dim()
    ]
    if not rows:
        raise BundleError(f"{where}: neither ESM-2, DNABERT-S nor a head; {_has(list(state))}")
    if rows[0] != len(ESM2_VOCABULARY):
        owner = _VOCABULARIES.get(rows[0])
        is_bert = any(_BERT.search(name) for name in state)
        what = owner or ("a BERT, such as ProtBert or DNABERT" if is_bert else "another network")
        raise BundleError(
            f"{where}: {_not_ours(what)}: its vocabulary has {rows[0]:,} tokens, ESM-2's "
            f"{len(ESM2_VOCABULARY)}"
        )


def _check_config(
    config: Mapping[str, Any], needed: Mapping[str, tuple[Any, Any]], network: str, where: str
) -> None:
    for key, (default, value) in needed.items():
        said = config.get(key, default)
        if said != value and not (value is False and said is None):
            raise BundleError(
                f"{where}: is not {network}: config.json says {key} {_quoted(said)} where "
                f"{network} has {_quoted(value)}; give the weights of {network}"
            )


def _check_names(state: State, known: re.Pattern[str], network: str, where: str) -> None:
    for name in state:
        if not known.fullmatch(name):
            raise BundleError(
                f"{where}: is not {network}, which has no tensor {name[:100]}; give the weights "
                f"of {network}"
            )


def _not_ours(what: str) -> str:
    return f"is {what}; virnucpro computes ESM-2 and DNABERT-S" if ";" not in what else f"is {what}"


def _has(names: Sequence[str]) -> str:
    return f"its tensors are named like {names[0][:100]}" if names else "it holds no tensors"


def _quoted(value: object) -> str:
    return repr(value)[:60]
