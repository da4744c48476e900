"""Encoders from disk onto a device, and their tokenizers."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import torch

from virnucpro.bundles.bundle_files import read_tensors
from virnucpro.bundles.manifest import Kind
from virnucpro.bundles.store import Bundle, StoredEncoder
from virnucpro.bundles.stored_encoder import Model
from virnucpro.encoders import Network, Tokens, Transformer
from virnucpro.encoders.packed import load_packed
from virnucpro.encoders.table import build, spec_of
from virnucpro.encoders.tokens import end_to_end
from virnucpro.errors import SettingsError

NetworkT = TypeVar("NetworkT", bound=Network)


def load_encoder(
    stored: StoredEncoder,
    device: torch.device,
    dtype: torch.dtype,
    *,
    layer: int | None = None,
    bits: int | None = None,
) -> Network:
    """Load an encoder; see `load_weights`.

    Args:
        stored: the encoder on disk.
        device: target device.
        dtype: type of weights and activations.
        layer: layer whose hidden states it returns, counted from 1 (default: last). The weights
            behind that layer are not read.
        bits: 8 or 4 to pack the blocks as they are read, if the encoder can be packed.

    Raises:
        BundleError: the weights do not have these sizes.
    """
    with torch.device("meta"):
        network = build(stored.config)
    return load_weights(network, stored.weights, device, dtype, layer=layer, bits=bits)


def load_weights(
    network: NetworkT,
    weights: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    layer: int | None = None,
    bits: int | None = None,
) -> NetworkT:
    """Load the weights of an encoder that is on the meta device, and return it.

    If it is packed, no more than one block is ever on the device in `dtype`.

    Raises:
        BundleError: the weights do not have the sizes of the encoder.
    """
    read = partial(read_tensors, weights, network.state_dict(), device, dtype)
    names = None
    if layer is not None:
        cast("Transformer", network).cut(layer)
        names = list(network.state_dict())
    if bits is not None and spec_of(network.config).packs:
        load_packed(cast("Transformer", network), read, bits)
    else:
        network.load_state_dict(read(names), assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def load_tokenizer(found: Bundle | Model, kind: Kind) -> Callable[[Sequence[str]], Tokens]:
    """Return what turns the letters of proteins or DNA into the tokens of an encoder.

    Raises:
        BundleError: the file of the tokenizer is damaged, or does not fit the encoder.
    """
    tokens = spec_of(found.encoders[kind].config).tokens
    if tokens is None:
        return found.tokenizer()
    return lambda sequences: tokens(*end_to_end(sequences))


def chosen_layer(model: Model, layer: int | None) -> int:
    """Return which layer of an encoder the user asks for.

    Raises:
        SettingsError: there is no such layer.
    """
    last = model.config.layers
    if layer is not None and not 1 <= layer <= last:
        raise SettingsError(f"--layer {layer}: {model.name} has layers 1 to {last}")
    return layer or last
