"""Bytes of the encoders' weights in each precision."""

import torch

from virnucpro.encoders.dnabert_s import DnabertSConfig
from virnucpro.encoders.packed import group_columns
from virnucpro.encoders.precision import DTYPES, EncoderConfig, stored_bits
from virnucpro.encoders.six_frames import FRAMES, SixFramesConfig


def memory_of(config: EncoderConfig, precision: str) -> int:
    """Return the bytes of an encoder's weights as they are computed with.

    Args:
        config: its sizes; of a DNABERT-S, which is small, its products and embedding count.
        precision: a key of `DTYPES`.

    Returns:
        12 D^2 weights and 13 D biases and numbers of norms for each layer, the embedding and the
        last norm, each at its size; for fp8, int8 and int4 their scales; for int8 and int4 the one
        block into which weights are expanded.
    """
    width, bits, size = config.width, stored_bits(precision), DTYPES[precision].itemsize
    if isinstance(config, SixFramesConfig):
        mixing = size * (FRAMES * config.frame_width + 1) * width
        plain = "fp16" if DTYPES[precision] == torch.float16 else precision
        return mixing + memory_of(config.frames, plain) + memory_of(config.windows, plain)
    if isinstance(config, DnabertSConfig):
        block = width * (4 * width + 3 * config.feed_forward)
        return size * (config.layers * block + config.vocabulary * width)
    weights, rows = 12 * width**2, 9 * width
    outside = size * (config.vocabulary + 2) * width
    block = size * (weights + 13 * width)
    if precision == "fp8":
        block += 4 * rows - (size - 1) * weights
    if bits is None:
        return outside + config.layers * block
    scales = sum(
        n * width * (k * width // group_columns(k * width, bits))
        for n, k in ((3, 1), (1, 1), (4, 1), (1, 4))
    )
    packed = weights * bits // 8 + size * (scales + 13 * width)
    return outside + config.layers * packed + block
