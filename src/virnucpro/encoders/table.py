"""The architectures that the program computes, one line each."""

import operator
from functools import reduce
from typing import Any

import torch
from torch import nn

from virnucpro.encoders import dnabert_s, esm2, esm_c, six_frames
from virnucpro.encoders.network import EncoderConfig, Network
from virnucpro.encoders.packed import group_columns
from virnucpro.encoders.precision import DTYPES, stored_bits
from virnucpro.encoders.spec import EncoderSpec

SPECS: tuple[EncoderSpec, ...] = (
    esm2.SPEC,
    esm_c.SPEC,
    dnabert_s.SPEC,
    six_frames.SPEC,
)
_BY_CONFIG = {spec.config: spec for spec in SPECS}
_BY_NAME = {spec.name: spec for spec in SPECS}
_GPU = torch.device("cuda")


def spec_of(config: EncoderConfig) -> EncoderSpec:
    """Return the spec of a network with these sizes."""
    return _BY_CONFIG[type(config)]


def spec_named(name: str) -> EncoderSpec:
    """Return the spec of an architecture by its name in manifests."""
    return _BY_NAME[name]


def configs_reading(*kinds: str) -> Any:  # noqa: ANN401 (a type for msgspec)
    """Return the union of the types of sizes whose networks read one of `kinds`."""
    return reduce(operator.or_, (spec.config for spec in SPECS if spec.reads in kinds))


def build(config: EncoderConfig) -> Network:
    """Build a network with arbitrary weights from its sizes."""
    return spec_of(config).network(config)


def memory_of(config: EncoderConfig, precision: str) -> int:
    """Return the bytes that the weights of a network take on a GPU.

    They include the scales of weights in 8 or 4 bits, and the block into which stored weights are
    expanded.

    Args:
        config: sizes of the network.
        precision: a key of `DTYPES`.
    """
    precision = spec_of(config).computed(precision, _GPU)
    size, bits = DTYPES[precision].itemsize, stored_bits(precision)
    with torch.device("meta"):
        network = build(config)
    numbers = sum(parameter.numel() for parameter in network.parameters())
    if precision != "fp8" and bits is None:
        return size * numbers
    blocks = [block for part in network.parts.values() for block in part.blocks]
    products = [part for block in blocks for part in block.modules() if isinstance(part, nn.Linear)]
    narrow = sum(product.weight.numel() for product in products)
    if bits is None:
        scales = sum(4 * product.out_features for product in products)
        return size * (numbers - narrow) + narrow + scales
    scales = sum(p.weight.numel() // group_columns(p.in_features, bits) for p in products)
    shared = sum(parameter.numel() for parameter in blocks[0].parameters())
    return size * (numbers - narrow + scales + shared) + narrow * bits // 8
