"""Published weights as parts of a bundle: fused layout, with sizes taken from the tensors."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from virnucpro.bundles.architectures import Recognised, check_names, check_sizes, check_types
from virnucpro.bundles.manifest import HeadSize
from virnucpro.bundles.registry import ENCODERS
from virnucpro.encoders.network import TransformerConfig
from virnucpro.encoders.spec import EncoderSpec, State
from virnucpro.encoders.table import build
from virnucpro.errors import BundleError

#: Numbers of a tensor that are compared at a time.
_SLICE = 1 << 22

_LAYER = re.compile(r"\b(?:layers?|blocks)\.([0-9]{1,4})\.")


def convert_encoder(
    found: Recognised, state: State, config: Mapping[str, Any] | None, where: str
) -> tuple[TransformerConfig, dict[str, Tensor]]:
    """Turn published weights into those of a bundle.

    Args:
        found: architecture and layout of the weights.
        state: published names and tensors.
        config: content of transformers' `config.json`, if there is one.
        where: the file, for messages.

    Raises:
        BundleError: they are not the weights of that architecture.
    """
    check_names(found, state, config, where)
    spec = found.spec
    fused = _fused(found, state, where)
    layers = _layers(state, fused, where)
    vocabulary, width = fused["embedding.weight"].shape
    feed_forward = fused["blocks.0.down.weight"].shape[-1]
    heads = _heads(config, spec, width, where)
    known = {
        "layers": layers, "width": width, "heads": heads, "vocabulary": vocabulary,
        "feed_forward": feed_forward,
    }  # fmt: skip
    config_type: Any = spec.config
    sizes = config_type(**{name: known[name] for name in config_type.__struct_fields__})
    _check(fused, sizes, where)
    configured = {
        "num_hidden_layers": layers, "hidden_size": width, "intermediate_size": feed_forward,
        "vocab_size": vocabulary,
    }  # fmt: skip
    check_sizes(config, configured, where)
    if fault := spec.fault(state, sizes):
        raise BundleError(
            f"{where}: is not {spec.title}: {fault}; give the weights of {spec.title}"
        )
    return sizes, fused


def convert_head(state: State, where: str) -> tuple[HeadSize, dict[str, Tensor]]:
    """Check the weights of a head, whose names stay.

    Raises:
        BundleError: they are not the weights of a head.
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
    """Turn fp32 tensors into fp16 if they lose nothing, one at a time.

    Weights that were published in fp16 are often passed on as fp32.
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


def _fused(found: Recognised, state: State, where: str) -> dict[str, Tensor]:
    # Embeddings are added or multiplied in fp32.
    state = {name: x.float() if "embed" in name else x for name, x in state.items()}
    title = found.spec.title
    try:
        fused = found.layout.fuse(state)
    except (KeyError, IndexError, RuntimeError) as error:
        raise BundleError(f"{where}: not the weights of {title} ({error} is missing)") from error
    if fused["embedding.weight"].dim() != 2 or "blocks.0.down.weight" not in fused:
        raise BundleError(f"{where}: not the weights of {title} (it has no layers)")
    return fused


def _layers(state: State, fused: State, where: str) -> int:
    """Return the number of layers; all published layers must be there."""
    found, published = (
        {int(match[1]) for name in names if (match := _LAYER.search(name))}
        for names in (fused, state)
    )
    if not found == published == set(range(len(found))):
        raise BundleError(f"{where}: some of its layers are not complete; get it again")
    return len(found)


def _heads(config: Mapping[str, Any] | None, spec: EncoderSpec, width: int, where: str) -> int:
    published = (known for known in ENCODERS.values() if known.architecture == spec.name)
    by_width = {known.width: known.heads for known in published}
    heads = (config or {}).get("num_attention_heads", by_width.get(width))
    if type(heads) is not int or heads < 1 or width % (2 * heads):
        raise BundleError(
            f"{where}: no published model has a width of {width}; give a directory with config.json"
        )
    return heads


def _check(fused: State, sizes: TransformerConfig, where: str) -> None:
    """Compare names and shapes with those of the network."""
    with torch.device("meta"):
        expected = build(sizes).state_dict()
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
