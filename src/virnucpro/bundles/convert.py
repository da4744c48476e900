"""Published weights into the parts of a bundle: fused layout, sizes read off the tensors."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from virnucpro.bundles.architectures import (
    State,
    check_dnabert_s,
    check_esm2,
    check_rotary,
    check_sizes,
    check_types,
)
from virnucpro.bundles.registry import ENCODERS
from virnucpro.bundles.sizes import DnaEncoder, HeadSize, ProteinEncoder
from virnucpro.encoders import DnabertS, DnabertSConfig, Esm2, Esm2Config
from virnucpro.encoders.dnabert_s import fuse_published
from virnucpro.encoders.esm2 import fuse_fair_esm, fuse_transformers
from virnucpro.errors import BundleError

#: Heads of the published encoders by width.
_ESM2_HEADS, _DNABERT_S_HEADS = (
    {known.width: known.heads for known in ENCODERS.values() if known.kind == kind}
    for kind in ("protein", "dna")
)
#: Numbers of a tensor that are compared at a time.
_SLICE = 1 << 22

_LAYER = re.compile(r"\b(?:layers?|blocks)\.([0-9]{1,4})\.")


def convert_protein(
    state: State, config: Mapping[str, Any] | None, where: str
) -> tuple[ProteinEncoder, dict[str, Tensor]]:
    """Turn ESM-2's weights, as transformers or fair-esm name them, into a bundle's.

    Args:
        state: published names and tensors.
        config: transformers' `config.json`, where there is one.
        where: the file, for messages.

    Raises:
        BundleError: when they are not the weights of an ESM-2.
    """
    check_esm2(state, config, where)
    is_fair_esm = any(name.endswith("embed_tokens.weight") for name in state)
    fused = _fused(fuse_fair_esm if is_fair_esm else fuse_transformers, state, "ESM-2", where)
    vocabulary, width = fused["embedding.weight"].shape
    sizes = Esm2Config(
        layers=_layers(state, fused, where),
        width=width,
        heads=_heads(config, _ESM2_HEADS, width, where),
        vocabulary=vocabulary,
    )
    _check(fused, Esm2, sizes, where)
    check_sizes(config, _said_sizes(sizes, 4 * width), where)
    check_rotary(state, sizes.width // sizes.heads, where)
    return ProteinEncoder(**asdict(sizes)), fused


def convert_dna(
    state: State, config: Mapping[str, Any] | None, where: str
) -> tuple[DnaEncoder, dict[str, Tensor]]:
    """Turn DNABERT-S's weights into a bundle's; see `convert_protein`."""
    check_dnabert_s(state, config, where)
    fused = _fused(fuse_published, state, "DNABERT-S", where)
    vocabulary, width = fused["embedding.weight"].shape
    sizes = DnabertSConfig(
        layers=_layers(state, fused, where),
        width=width,
        heads=_heads(config, _DNABERT_S_HEADS, width, where),
        feed_forward=fused["blocks.0.down.weight"].shape[1],
        vocabulary=vocabulary,
    )
    _check(fused, DnabertS, sizes, where)
    check_sizes(config, _said_sizes(sizes, sizes.feed_forward), where)
    return DnaEncoder(**asdict(sizes)), fused


def convert_head(state: State, where: str) -> tuple[HeadSize, dict[str, Tensor]]:
    """Check the weights of a head; their names are kept.

    Raises:
        BundleError: when they are not those of a head.
    """
    first = state.get("hidden_layer.weight")
    if first is None or first.dim() != 2 or not first.numel():
        raise BundleError(f"{where}: not the weights of a VirNucPro head; give 500_model.pth")
    check_types(state, where)
    hidden, features = first.shape
    norm = ("weight", "bias", "running_mean", "running_var")
    shapes = {
        "hidden_layer.weight": (hidden, features),
        "hidden_layer.bias": (hidden,),
        "output_layer.weight": (2, hidden),
        "output_layer.bias": (2,),
        "bn1.num_batches_tracked": (),
        **{f"bn1.{name}": (hidden,) for name in norm},
    }
    _compare_shapes(state, shapes, "a VirNucPro head", where)
    return HeadSize(hidden=hidden), dict(state)


def narrow(state: dict[str, Tensor]) -> None:
    """Replace fp32 tensors of which fp16 loses nothing by fp16, one at a time.

    Weights that were published in fp16 are often handed on widened.
    """
    for name, tensor in state.items():
        state[name] = _narrowed(tensor)


def _narrowed(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32:
        return tensor
    half = torch.empty(tensor.shape, dtype=torch.float16)
    slices = (x.flatten().split(_SLICE) for x in (tensor, half))
    for wide, narrowed in zip(*slices, strict=True):
        narrowed.copy_(wide)
        if not torch.equal(narrowed.float(), wide):
            return tensor
    return half


def _fused(
    fuse: Callable[[State], dict[str, Tensor]], state: State, kind: str, where: str
) -> dict[str, Tensor]:
    # What is added into an embedding, or multiplied, is so in fp32.
    state = {name: x.float() if "embed" in name else x for name, x in state.items()}
    try:
        fused = fuse(state)
    except (KeyError, IndexError, RuntimeError) as error:
        raise BundleError(f"{where}: not the weights of {kind} ({error} is missing)") from error
    if fused["embedding.weight"].dim() != 2 or "blocks.0.down.weight" not in fused:
        raise BundleError(f"{where}: not the weights of {kind} (it has no layers)")
    return fused


def _layers(state: State, fused: State, where: str) -> int:
    """Return how many layers there are; none of those published may be left out."""
    found, published = (
        {int(match[1]) for name in names if (match := _LAYER.search(name))}
        for names in (fused, state)
    )
    if not found == published == set(range(len(found))):
        raise BundleError(f"{where}: some of its layers are not complete; get it again")
    return len(found)


def _said_sizes(sizes: Esm2Config | DnabertSConfig, feed_forward: int) -> dict[str, int]:
    """Return sizes under the names that `config.json` has for them."""
    return {
        "num_hidden_layers": sizes.layers,
        "hidden_size": sizes.width,
        "intermediate_size": feed_forward,
        "vocab_size": sizes.vocabulary,
    }


def _heads(
    config: Mapping[str, Any] | None, known: Mapping[int, int], width: int, where: str
) -> int:
    heads = (config or {}).get("num_attention_heads", known.get(width))
    if type(heads) is not int or heads < 1 or width % (2 * heads):
        raise BundleError(
            f"{where}: no published model has a width of {width}; give a directory with config.json"
        )
    return heads


def _check(fused: State, network: Callable[[Any], nn.Module], sizes: object, where: str) -> None:
    """Compare names and shapes with those of the network."""
    with torch.device("meta"):
        expected = network(sizes).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    _compare_shapes(fused, shapes, "the network", where)


def _compare_shapes(
    found: State, expected: Mapping[str, tuple[int, ...]], network: str, where: str
) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            fault = "is missing" if name in expected else f"is no tensor of {network}"
            raise BundleError(f"{where}: {name[:100]} {fault}; get it again")
        if (have := tuple(found[name].shape)) != expected[name]:
            raise BundleError(
                f"{where}: {name[:100]} has shape {have} where {network} has {expected[name]}; "
                "get it again"
            )
