"""The architecture of published weights, by the names, shapes and types of all tensors.

Networks that resemble a known architecture have tensors of the same names and compute something
else. Weights are accepted only if all names, types and settings in `config.json` fit.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from virnucpro.encoders.spec import EncoderSpec, Layout, State
from virnucpro.encoders.table import SPECS
from virnucpro.errors import BundleError

#: Pattern of a tensor's name -> the network that has one; the first match counts.
_OTHERS = (
    (r"lora_[AB]\.", "a LoRA adapter, or a network with one; merge it into its model first"),
    (r"\.SCB$|\.(weight_)?qweight$|\.absmax$|quant_state", "quantised; give the original weights"),
    (r"msa_position_embedding|\.row_self_attention\.", "an MSA Transformer"),
    (r"^esm_s_combine$|^trunk\.", "an ESMFold"),
    (r"relative_attention_bias", "a T5, such as ProtT5 or Ankh"),
    (r"^(transformer\.)?h\.\d+\.", "a GPT, such as ProtGPT2"),
    (r"self_attn\.bias_k$|^embed_out$", "an ESM-1"),
    (r"emb_layer_norm_before\.|embeddings\.layer_norm\.weight$", "an ESM-1b"),
)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32)
#: Tensors of other types than weights.
_COUNTERS = re.compile(r"position_ids$|num_batches_tracked$")


class Recognised(NamedTuple):
    """What published weights are.

    Attributes:
        spec: their architecture.
        layout: how their tensors are named.
    """

    spec: EncoderSpec
    layout: Layout


def recognise(state: State, where: str) -> Recognised:
    """Return the architecture whose names some of the tensors have.

    Args:
        state: all tensors.
        where: the file, for messages.

    Raises:
        BundleError: there is none.
    """
    for pattern, what in _OTHERS:
        if any(re.search(pattern, name) for name in state):
            raise BundleError(f"{where}: {_not_ours(what)}")
    for spec in SPECS:
        for layout in spec.layouts:
            if any(layout.mark.search(name) for name in state):
                return Recognised(spec, layout)
    first = next(iter(state), None)
    has = "it holds no tensors" if first is None else f"its tensors are named like {first[:100]}"
    raise BundleError(f"{where}: neither {', '.join(_titles())} nor a head; {has}")


def check_names(
    found: Recognised, state: State, config: Mapping[str, Any] | None, where: str
) -> None:
    """Refuse weights of another network whose tensors have similar names.

    Args:
        found: their architecture.
        state: all tensors.
        config: content of `config.json`, if there is one.
        where: the file, for messages.

    Raises:
        BundleError: names, types or configuration are not those of the architecture.
    """
    spec, layout = found
    if other := spec.lookalike(state, has_config=config is not None):
        raise BundleError(f"{where}: {_not_ours(other)}")
    if config is not None:
        _check_config(config, layout.needs, spec.title, where)
    for name in state:
        if not layout.names.fullmatch(name):
            raise BundleError(
                f"{where}: is not {spec.title}, which has no tensor {name[:100]}; give the weights "
                f"of {spec.title}"
            )
    check_types(state, where)


def check_types(state: State, where: str) -> None:
    """Refuse weights that are not fp16, bf16 or fp32.

    Raises:
        BundleError: a tensor is of another type.
    """
    for name, tensor in state.items():
        if tensor.dtype not in _FLOATS and not _COUNTERS.search(name):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise BundleError(
                f"{where}: {name[:100]} is {kind}; save the weights as float32, bfloat16 or float16"
            )


def _check_config(
    config: Mapping[str, Any], needed: Mapping[str, tuple[Any, Any]], network: str, where: str
) -> None:
    for key, (default, value) in needed.items():
        found = config.get(key, default)
        if found != value and not (value is False and found is None):
            raise BundleError(
                f"{where}: is not {network}: config.json says {key} {_quoted(found)} where "
                f"{network} has {_quoted(value)}; give the weights of {network}"
            )


def check_sizes(config: Mapping[str, Any] | None, sizes: Mapping[str, int], where: str) -> None:
    """Compare the sizes in `config.json` with those of the tensors.

    Raises:
        BundleError: a size differs.
    """
    for key, size in sizes.items():
        found = size if config is None else config.get(key, size)
        if found != size:
            raise BundleError(
                f"{where}: config.json says {key} {_quoted(found)} where the tensors have {size}; "
                "get both again"
            )


def _titles() -> list[str]:
    return [spec.title for spec in SPECS if spec.layouts]


def _not_ours(what: str) -> str:
    if ";" in what:
        return f"is {what}"
    *titles, last = _titles()
    return f"is {what}; virnucpro computes {', '.join(titles)} and {last}"


def _quoted(value: object) -> str:
    return repr(value)[:60]
