"""Matrix products that apply bias, activation and residual sum before they write (Hopper).

Each program stays on one multiprocessor and computes tile after tile, so that the loads of the next
tile overlap with the end of the current one. The result of a row does not depend on the number of
rows.
"""

from enum import IntEnum

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from virnucpro.encoders.kernels.rows import gelu_of, silu_of


class Finish(IntEnum):
    """The last operation on a tile before it is written.

    PLAIN writes it; GELU applies GELU; GATED_GELU and GATED_SILU apply GELU or SiLU to every even
    column and multiply it with the odd column after it, the pairs being in `paired_order`; RESIDUAL
    adds what was in the output.
    """

    PLAIN = 0
    GELU = 1
    GATED_GELU = 2
    RESIDUAL = 3
    GATED_SILU = 4

    @property
    def is_gated(self) -> bool:
        """Whether two columns become one."""
        return self in (Finish.GATED_GELU, Finish.GATED_SILU)


_GELU = tl.constexpr(Finish.GELU.value)
_GATED_GELU = tl.constexpr(Finish.GATED_GELU.value)
_GATED_SILU = tl.constexpr(Finish.GATED_SILU.value)
_RESIDUAL = tl.constexpr(Finish.RESIDUAL.value)

# Rows, columns and depth in bytes of a tile; measured on an H100 (docs/log.md).
_TILE_M, _TILE_N, _TILE_K_BYTES = 128, 256, 128
#: Tiles of rows that share the tiles of weights in the cache.
_TOGETHER = 16


@triton.jit
def _load_columns(pointer, columns, n_columns, WHOLE: tl.constexpr):
    """Return one number for each column; unmasked loads are wider, and so faster."""
    if WHOLE:
        values = tl.load(pointer + columns)
    else:
        values = tl.load(pointer + columns, mask=columns < n_columns, other=0.0)
    return values.to(tl.float32)[None, :]


@triton.jit
def _finished(
    values, columns, rows, n_rows, n_columns, bias_ptr, row_scales_ptr, column_scales_ptr,
    BIAS: tl.constexpr, ROW_SCALES: tl.constexpr, COLUMN_SCALES: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Return values times their scales, plus the bias."""
    if ROW_SCALES:
        values *= tl.load(row_scales_ptr + rows, mask=rows < n_rows, other=0.0)[:, None]
    if COLUMN_SCALES:
        values *= _load_columns(column_scales_ptr, columns, n_columns, WHOLE)
    if BIAS:
        values += _load_columns(bias_ptr, columns, n_columns, WHOLE)
    return values


@triton.jit
def _product_kernel(
    a_desc, w_desc, out_desc, bias_ptr, row_scales_ptr, column_scales_ptr, out_factor,
    n_rows, n_columns, depth,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr, TOGETHER: tl.constexpr,
    PROGRAMS: tl.constexpr, FINISH: tl.constexpr, WHOLE: tl.constexpr,
    FACTOR: tl.constexpr, REORDER: tl.constexpr, BIAS: tl.constexpr,
    ROW_SCALES: tl.constexpr, COLUMN_SCALES: tl.constexpr,
):  # fmt: skip
    tiles_m = tl.cdiv(n_rows, TILE_M)
    tiles_n = tl.cdiv(n_columns, TILE_N)
    HALF: tl.constexpr = TILE_N // 2
    for tile in tl.range(tl.program_id(0), tiles_m * tiles_n, PROGRAMS, flatten=True):
        band = tile // (TOGETHER * tiles_n)
        height = min(tiles_m - band * TOGETHER, TOGETHER)
        within = tile % (TOGETHER * tiles_n)
        m = (band * TOGETHER + within % height) * TILE_M
        n = within // height * TILE_N
        total = tl.zeros((TILE_M, TILE_N), tl.float32)
        for k in range(tl.cdiv(depth, TILE_K)):
            a = a_desc.load([m, k * TILE_K])
            w = w_desc.load([n, k * TILE_K])
            total = tl.dot(a, w.T, total)
        rows = m + tl.arange(0, TILE_M)
        if FINISH == _GATED_GELU or FINISH == _GATED_SILU:  # noqa: PLR1714, SIM109 (Triton)
            gate, value = tl.split(tl.reshape(total, (TILE_M, HALF, 2)))
            even = n + 2 * tl.arange(0, HALF)
            gate = _finished(
                gate, even, rows, n_rows, n_columns, bias_ptr, row_scales_ptr, column_scales_ptr,
                BIAS, ROW_SCALES, COLUMN_SCALES, WHOLE,
            )  # fmt: skip
            value = _finished(
                value, even + 1, rows, n_rows, n_columns, bias_ptr, row_scales_ptr,
                column_scales_ptr, BIAS, ROW_SCALES, COLUMN_SCALES, WHOLE,
            )  # fmt: skip
            y = (silu_of(gate) if FINISH == _GATED_SILU else gelu_of(gate)) * value
            if FACTOR:
                y *= out_factor
            y = tl.permute(tl.reshape(y, (TILE_M, HALF // 16, 4, 4)), (0, 1, 3, 2))
            y = tl.reshape(y, (TILE_M, HALF))
            out_desc.store([m, n // 2], y.to(out_desc.dtype))
        else:
            halves = tl.permute(tl.reshape(total, (TILE_M, 2, HALF)), (0, 2, 1))
            left, right = tl.split(halves)
            for side in tl.static_range(2):
                y = left if side == 0 else right
                first = n + side * HALF
                y = _finished(
                    y, first + tl.arange(0, HALF), rows, n_rows, n_columns, bias_ptr,
                    row_scales_ptr, column_scales_ptr, BIAS, ROW_SCALES, COLUMN_SCALES, WHOLE,
                )  # fmt: skip
                if FINISH == _GELU:
                    y = gelu_of(y)
                if FACTOR:
                    y *= out_factor
                if FINISH == _RESIDUAL:
                    y += out_desc.load([m, first]).to(tl.float32)
                if REORDER:
                    y = tl.reshape(y, (TILE_M, HALF // 32, 4, 4, 2))
                    y = tl.reshape(tl.permute(y, (0, 1, 3, 2, 4)), (TILE_M, HALF))
                out_desc.store([m, first], y.to(out_desc.dtype))


def product(
    rows_TK: Tensor,
    weight_NK: Tensor,
    out_TN: Tensor,
    *,
    bias_N: Tensor | None = None,
    row_scales_T1: Tensor | None = None,
    column_scales_N: Tensor | None = None,
    finish: Finish = Finish.PLAIN,
    out_factor: float = 1.0,
) -> None:
    """Write finish(rows @ weight.T * scales + bias) * out_factor to `out_TN`.

    The columns of a result in e4m3 are in `stored_order`, unless it is gated. Each thread can then
    write 8 bytes at once instead of 2.

    Args:
        rows_TK: input, contiguous, in 16 bit or e4m3; a row has a multiple of 16 bytes.
        weight_NK: weight, of the same type.
        out_TN: result, contiguous. It has N / 2 columns if it is gated, and a multiple of 32
            columns if they are in `stored_order`.
        bias_N: bias, added before `finish`.
        row_scales_T1: factors of the rows, fp32.
        column_scales_N: factors of the columns, fp32.
        finish: last operation.
        out_factor: factor of the result; it does not apply to a residual.
    """
    (n_rows, depth), n_columns = rows_TK.shape, len(weight_NK)
    tile_k = _TILE_K_BYTES // rows_TK.element_size()
    programs = _multiprocessors(rows_TK.device)
    tiles = triton.cdiv(n_rows, _TILE_M) * triton.cdiv(n_columns, _TILE_N)
    _product_kernel[(min(programs, tiles),)](
        TensorDescriptor.from_tensor(rows_TK, [_TILE_M, tile_k]),
        TensorDescriptor.from_tensor(weight_NK, [_TILE_N, tile_k]),
        TensorDescriptor.from_tensor(out_TN, [_TILE_M, _TILE_N // 2]),
        bias_N if bias_N is not None else out_TN,
        row_scales_T1 if row_scales_T1 is not None else out_TN,
        column_scales_N if column_scales_N is not None else out_TN,
        out_factor, n_rows, n_columns, depth,
        TILE_M=_TILE_M, TILE_N=_TILE_N, TILE_K=tile_k, TOGETHER=_TOGETHER, PROGRAMS=programs,
        FINISH=finish.value, WHOLE=n_columns % _TILE_N == 0, FACTOR=out_factor != 1.0,
        REORDER=out_TN.dtype == torch.float8_e4m3fn and not finish.is_gated,
        BIAS=bias_N is not None, ROW_SCALES=row_scales_T1 is not None,
        COLUMN_SCALES=column_scales_N is not None, num_warps=8, num_stages=3,
    )  # fmt: skip


def stored_order(columns: int) -> Tensor:
    """Return the column that is stored at each place of a result in e4m3.

    A tensor core gives thread t of four the columns 2t and 2t + 1 of every 8. In this order, its
    columns of every 32 are neighbours.
    """
    order = torch.arange(columns).view(-1, 4, 4, 2)
    return order.transpose(1, 2).flatten()


def paired_order(pairs: int) -> Tensor:
    """Return the column of a gated result that each pair of gate and value belongs to.

    A tensor core gives thread t of four the pair t of every 4. In this order, its results of every
    16 pairs are neighbours.
    """
    return torch.arange(pairs).view(-1, 4, 4).transpose(1, 2).flatten()


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":  # Triton's interpreter
        return 4
    return torch.cuda.get_device_properties(device).multi_processor_count
