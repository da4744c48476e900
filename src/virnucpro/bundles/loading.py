"""One encoder from disk to a device."""

from dataclasses import replace
from functools import partial

import torch

from virnucpro.bundles.models import Model
from virnucpro.encoders import DnabertS, Esm2, Esm2Config
from virnucpro.encoders.packed import load_packed
from virnucpro.errors import SettingsError


def load_encoder(
    model: Model,
    device: torch.device,
    dtype: torch.dtype,
    layer: int | None = None,
    bits: int | None = None,
) -> Esm2 | DnabertS:
    """Build an encoder up to one of its layers; those behind it are not read.

    Args:
        model: the files.
        device: where to.
        dtype: of weights and activations.
        layer: whose hidden states it gives, from 1; by default the last.
        bits: 8 or 4 to pack the blocks of an ESM-2 as they are read.

    Raises:
        BundleError: when the weights are not those that the manifest describes.
        SettingsError: when there is no such layer.
    """
    config = model.config
    kept = replace(config, layers=chosen_layer(model, layer))
    with torch.device("meta"):
        whole, network = (_network(sizes) for sizes in (config, kept))
    read = partial(model.tensors, whole.state_dict(), device, dtype)
    if bits is not None and isinstance(kept, Esm2Config):
        network = load_packed(read, kept, bits)
    else:
        network.load_state_dict(read(network.state_dict().keys()), assign=True)
    if isinstance(network, Esm2):
        network.is_whole = kept.layers == config.layers
    return network.eval().requires_grad_(requires_grad=False)


def chosen_layer(model: Model, layer: int | None) -> int:
    """Return which layer is meant.

    Raises:
        SettingsError: when there is no such layer.
    """
    last = model.config.layers
    if layer is not None and not 1 <= layer <= last:
        raise SettingsError(f"--layer {layer}: {model.name} has layers 1 to {last}")
    return layer or last


def _network(config: object) -> Esm2 | DnabertS:
    return Esm2(config) if isinstance(config, Esm2Config) else DnabertS(config)  # type: ignore[arg-type]
