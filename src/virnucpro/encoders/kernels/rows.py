"""Kernels that read the rows of activations once: LayerNorm, GELU, SiLU, means of sequences."""

import torch
import triton
import triton.language as tl
from torch import Tensor

#: The largest number of float8_e4m3fn.
_FP8_LARGEST = tl.constexpr(448.0)


@triton.jit
def _norm_kernel(
    x_ptr, delta_ptr, weight_ptr, bias_ptr, out_ptr, scales_ptr, epsilon,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, DELTA: tl.constexpr, BIAS: tl.constexpr,
    QUANTISE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    columns = tl.arange(0, PADDED)
    known = columns < WIDTH
    at = row.to(tl.int64) * WIDTH + columns
    x = tl.load(x_ptr + at, mask=known, other=0.0).to(tl.float32)
    if DELTA:
        x += tl.load(delta_ptr + at, mask=known, other=0.0).to(tl.float32)
        tl.store(x_ptr + at, x.to(x_ptr.dtype.element_ty), mask=known)
    mean = tl.sum(x, 0) / WIDTH
    centred = tl.where(known, x - mean, 0.0)
    variance = tl.sum(centred * centred, 0) / WIDTH
    weight = tl.load(weight_ptr + columns, mask=known, other=0.0).to(tl.float32)
    y = centred * tl.rsqrt(variance + epsilon) * weight
    if BIAS:
        y += tl.load(bias_ptr + columns, mask=known, other=0.0).to(tl.float32)
    if QUANTISE:
        largest = tl.maximum(tl.max(tl.abs(y), 0), 1e-12)
        tl.store(scales_ptr + row, largest / _FP8_LARGEST)
        y *= _FP8_LARGEST / largest
    tl.store(out_ptr + at, y.to(out_ptr.dtype.element_ty), mask=known)


def layer_norm(
    x_TD: Tensor,
    weight_D: Tensor,
    bias_D: Tensor | None,
    epsilon: float,
    out_TD: Tensor,
    *,
    delta_TD: Tensor | None = None,
    scales_T1: Tensor | None = None,
) -> None:
    """Write LayerNorm(x + delta) to `out_TD`, and x + delta to `x_TD`.

    Args:
        x_TD: input, contiguous.
        weight_D: weight of the LayerNorm.
        bias_D: bias of the LayerNorm, or None.
        epsilon: epsilon of the LayerNorm.
        out_TD: result; may be `x_TD`, and is e4m3 with `scales_T1`.
        delta_TD: summand, contiguous (default: zero).
        scales_T1: receives the largest magnitude of each row over 448, fp32; the row is divided by
            it. By default rows are not scaled.
    """
    width = x_TD.shape[1]
    padded = triton.next_power_of_2(width)
    _norm_kernel[(len(x_TD),)](
        x_TD, delta_TD if delta_TD is not None else x_TD, weight_D,
        bias_D if bias_D is not None else weight_D, out_TD,
        scales_T1 if scales_T1 is not None else x_TD, epsilon,
        WIDTH=width, PADDED=padded, DELTA=delta_TD is not None, BIAS=bias_D is not None,
        QUANTISE=scales_T1 is not None, num_warps=max(1, min(4, padded // 256)),
    )  # fmt: skip


@triton.jit
def _query_key_norm_kernel(
    qkv_ptr, query_ptr, key_ptr, epsilon, WIDTH: tl.constexpr, PADDED: tl.constexpr
):
    """Normalise the queries (program 0 of axis 1) or the keys (program 1) of one row in place."""
    columns = tl.arange(0, PADDED)
    known = columns < WIDTH
    part = tl.program_id(1)
    at = qkv_ptr + (3 * tl.program_id(0).to(tl.int64) + part) * WIDTH + columns
    x = tl.load(at, mask=known, other=0.0).to(tl.float32)
    weight_ptr = query_ptr if part == 0 else key_ptr
    weight = tl.load(weight_ptr + columns, mask=known, other=0.0).to(tl.float32)
    centred = tl.where(known, x - tl.sum(x, 0) / WIDTH, 0.0)
    variance = tl.sum(centred * centred, 0) / WIDTH
    y = centred * tl.rsqrt(variance + epsilon) * weight
    tl.store(at, y.to(qkv_ptr.dtype.element_ty), mask=known)


def query_key_norm(qkv_TE: Tensor, query_D: Tensor, key_D: Tensor, epsilon: float) -> None:
    """Replace queries and keys, each over all heads at once, by their LayerNorm without bias.

    Args:
        qkv_TE: query, key and value fused, contiguous; the values stay as they are.
        query_D: weight of the queries' LayerNorm.
        key_D: weight of the keys' LayerNorm, of the same type.
        epsilon: of both.
    """
    width = len(query_D)
    padded = triton.next_power_of_2(width)
    _query_key_norm_kernel[(len(qkv_TE), 2)](
        qkv_TE, query_D, key_D, epsilon, WIDTH=width, PADDED=padded,
        num_warps=max(1, min(4, padded // 256)),
    )  # fmt: skip


@triton.jit
def gelu_of(x):
    """Return GELU, within 5e-5 of x * (1 + erf(x / sqrt(2))) / 2.

    F is the distribution function of the normal distribution. Up to |x| = 4.4, a polynomial in
    x * x (minimax fit) replaces (F(x) - 1/2) / x; beyond that, F is 0 or 1. It takes only products
    and sums, which a GPU computes fastest: exponentials would limit the fused product.
    """
    t = tl.minimum(x * x, 19.36)
    p = 3.572774368021392e-11
    p = p * t - 3.7567198241106325e-09
    p = p * t + 1.7417261233276804e-07
    p = p * t - 4.726404768007342e-06
    p = p * t + 8.430836169281974e-05
    p = p * t - 0.0010550798615440726
    p = p * t + 0.009643293917179108
    p = p * t - 0.06607680022716522
    p = p * t + 0.3987617790699005
    return x * tl.minimum(tl.maximum(x * p + 0.5, 0.0), 1.0)


@triton.jit
def silu_of(x):
    """Return SiLU, x / (1 + exp(-x)); if the exponential overflows, this is 0."""
    return x / (1.0 + tl.exp2(x * -1.4426950408889634))


@triton.jit
def _activation_kernel(
    x_ptr, out_ptr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, GATED: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    known = columns < WIDTH
    at = row * WIDTH * (2 if GATED else 1) + columns
    x = tl.load(x_ptr + at, mask=known, other=0.0).to(tl.float32)
    y = silu_of(x) if SILU else gelu_of(x)
    if GATED:
        y *= tl.load(x_ptr + at + WIDTH, mask=known, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * WIDTH + columns, y.to(out_ptr.dtype.element_ty), mask=known)


def gelu(x_TF: Tensor, *, gated: bool = False) -> Tensor:
    """Return GELU of each value; if `gated`, of each row's first half times its second half."""
    return _activated(x_TF, gated=gated, silu=False)


def gated_silu(x_TF: Tensor) -> Tensor:
    """Return SiLU of each row's first half times its second half."""
    return _activated(x_TF, gated=True, silu=True)


def _activated(x_TF: Tensor, *, gated: bool, silu: bool) -> Tensor:
    width = x_TF.shape[1] // (2 if gated else 1)
    out_TF = x_TF.new_empty(len(x_TF), width)
    block = min(2048, triton.next_power_of_2(width))
    grid = (len(x_TF), triton.cdiv(width, block))
    _activation_kernel[grid](
        x_TF, out_TF, WIDTH=width, BLOCK=block, GATED=gated, SILU=silu, num_warps=4
    )
    return out_TF


@triton.jit
def _pool_kernel(
    x_ptr, out_ptr, offsets_ptr,
    WIDTH: tl.constexpr, TRIM: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    sequence = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    start = tl.load(offsets_ptr + sequence) + TRIM
    end = tl.load(offsets_ptr + sequence + 1) - TRIM
    total = tl.zeros([ROWS, BLOCK], tl.float32)
    for first in range(start, end, ROWS):
        rows = first + tl.arange(0, ROWS)
        known = (rows[:, None] < end) & (columns[None, :] < WIDTH)
        at = rows[:, None].to(tl.int64) * WIDTH + columns[None, :]
        total += tl.load(x_ptr + at, mask=known, other=0.0).to(tl.float32)
    mean = tl.sum(total, 0) / (end - start)
    tl.store(out_ptr + sequence.to(tl.int64) * WIDTH + columns, mean, mask=columns < WIDTH)


def mean_pool(hidden_TD: Tensor, offsets: Tensor, trim: int) -> Tensor:
    """Return means_SD in fp32, without `trim` tokens at both ends of each sequence.

    Args:
        hidden_TD: hidden states, contiguous.
        offsets: start of each sequence and end of the last one, int32.
        trim: number of tokens to leave out at each end.
    """
    sequences, width = len(offsets) - 1, hidden_TD.shape[1]
    means_SD = hidden_TD.new_empty(sequences, width, dtype=torch.float32)
    block = min(256, triton.next_power_of_2(width))
    grid = (sequences, triton.cdiv(width, block))
    _pool_kernel[grid](
        hidden_TD, means_SD, offsets, WIDTH=width, TRIM=trim, ROWS=8, BLOCK=block, num_warps=4
    )
    return means_SD
