"""Published weights into the parts of a bundle: fused layout, sizes read off the tensors."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

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

State = Mapping[str, Tensor]


def convert_protein(
    state: State, config: Mapping[str, Any], where: str
) -> tuple[ProteinEncoder, dict[str, Tensor]]:
    """Turn ESM-2's weights, as transformers or fair-esm name them, into a bundle's.

    Args:
        state: published names and tensors.
        config: of transformers, for sizes that tensors do not show; may be empty.
        where: the file, for messages.

    Raises:
        BundleError: when they are not the weights of an ESM-2.
    """
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
    return ProteinEncoder(**asdict(sizes)), fused


def convert_dna(
    state: State, config: Mapping[str, Any], where: str
) -> tuple[DnaEncoder, dict[str, Tensor]]:
    """Turn DNABERT-S's weights into a bundle's; see `convert_protein`."""
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
    return DnaEncoder(**asdict(sizes)), fused


def convert_head(state: State, where: str) -> tuple[HeadSize, dict[str, Tensor]]:
    """Check the weights of a head; their names are kept.

    Raises:
        BundleError: when they are not those of a head.
    """
    hidden = state["hidden_layer.weight"].shape[0] if "hidden_layer.weight" in state else 0
    found = state.get("output_layer.weight")
    if not hidden or found is None or tuple(found.shape) != (2, hidden):
        raise BundleError(f"{where}: not the weights of a VirNucPro head; give 500_model.pth")
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
        raise BundleError(f"{where}: some of its layers are not complete; get it anew")
    return len(found)


def _heads(config: Mapping[str, Any], known: Mapping[int, int], width: int, where: str) -> int:
    heads = config.get("num_attention_heads", known.get(width))
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise BundleError(
            f"{where}: no published model has a width of {width}; give a directory with config.json"
        )
    return heads


def _check(fused: State, network: Callable[[Any], nn.Module], sizes: object, where: str) -> None:
    """Compare names and shapes with those of the network."""
    with torch.device("meta"):
        expected = network(sizes).state_dict()
    for name in sorted(expected.keys() | fused.keys()):
        shapes = [tuple(x[name].shape) if name in x else None for x in (fused, expected)]
        if shapes[0] != shapes[1]:
            raise BundleError(
                f"{where}: {name} has shape {shapes[0]} where the network has {shapes[1]}; "
                "get it anew"
            )
