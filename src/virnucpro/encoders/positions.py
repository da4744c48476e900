"""The positions of tokens in attention: rotary angles (ESM-2) and linear biases (DNABERT-S)."""

import torch
from torch import Tensor


def rotary_tables(positions_T: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary angles, shape (T, 1, 1, A / 2).

    Source: Su et al., RoFormer (2021), base 10,000. The angles are computed in fp32.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=positions_T.device) / size
    angles = positions_T.float()[:, None] * (1.0 / 10000.0**exponents)
    return angles.cos().to(dtype)[:, None, None], angles.sin().to(dtype)[:, None, None]


def rotate(x_TNHA: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + A / 2) of each head by the angles of the token."""
    cos, sin = cos.to(x_TNHA.dtype), sin.to(x_TNHA.dtype)
    low, high = x_TNHA.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def alibi_slopes(heads: int) -> Tensor:
    """Return the slope of each head, shape (H,).

    Source: Press et al., ALiBi (2022). The slopes are a geometric series. If H is not a power of
    two, the series of the next smaller power is followed by every other slope of the next larger
    one.
    """
    smaller = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / smaller) for i in range(smaller)]
    slopes += [2.0 ** (-4.0 * (i + 1) / smaller) for i in range(0, 2 * (heads - smaller), 2)]
    return torch.tensor(slopes)


def alibi_bias(slopes_H: Tensor, length: int, rows: slice = slice(None)) -> Tensor:
    """Return -slope * |i - j|, shape (H, L, L), for all rows i or for some of them."""
    position = torch.arange(length, device=slopes_H.device, dtype=torch.float32)
    return -slopes_H[:, None, None] * (position[rows, None] - position).abs()
