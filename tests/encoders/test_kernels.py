"""Triton's kernels of rows and products against plain PyTorch, on a GPU or in the interpreter."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu as exact_gelu
from torch.nn.functional import layer_norm as exact_layer_norm
from torch.nn.functional import silu as exact_silu

from conftest import tokens_of
from kernel_outputs import BF16, FP8, FP16, FP32, amid_nan, check, output, random
from virnucpro.encoders.packing import mean_pool, pack_sequences

pytest.importorskip("triton")
from virnucpro.encoders.kernels import rows as row_kernels
from virnucpro.encoders.kernels.products import Finish, paired_order, product, stored_order

#: The interpreter computes with NumPy, which warns of infinities; a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
#: What `gelu_of` says of itself.
GELU_ERROR = 5e-5


@pytest.fixture
def fp8_device(device: torch.device) -> torch.device:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 9):
        pytest.skip("this GPU has no e4m3")
    return device


@pytest.fixture
def product_device(device: torch.device) -> torch.device:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (9, 0):
        pytest.skip("this GPU cannot load tiles by descriptors")
    return device


def norm_of(device: torch.device, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a LayerNorm."""
    weight_D = 1 + 0.3 * random(device, width, seed=5)
    return amid_nan(weight_D.to(dtype)), random(device, width, dtype=dtype, seed=6)


@pytest.mark.parametrize("dtype", [FP16, BF16, FP32])
@pytest.mark.parametrize("has_delta", [False, True])
@pytest.mark.parametrize(
    ("rows", "width", "epsilon"), [(1, 1, 1e-5), (1, 64, 1e-5), (5, 100, 1e-12), (3, 2561, 1e-5)]
)
def test_layer_norm(
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    width: int,
    epsilon: float,
    *,
    has_delta: bool,
) -> None:
    x_TD = amid_nan((random(device, rows, width) + 10).to(dtype))  # far from a mean of 0
    delta_TD = random(device, rows, width, dtype=dtype, seed=1) if has_delta else None
    weight_D, bias_D = norm_of(device, width, dtype)
    summed = x_TD.float() + (0 if delta_TD is None else delta_TD.float())
    normal = (width,), weight_D.double(), bias_D.double()
    expected = exact_layer_norm(summed.double(), *normal, epsilon)
    with output(device, rows, width, dtype) as out_TD:
        row_kernels.layer_norm(x_TD, weight_D, bias_D, epsilon, out_TD, delta_TD=delta_TD)
    check(out_TD, expected, dtype, sums=1e-5)  # a mean of 10 costs fp32 three bits
    assert torch.equal(x_TD, summed.to(dtype))


def test_layer_norm_may_write_over_its_input(device: torch.device) -> None:
    x_TD, delta_TD = random(device, 3, 50), random(device, 3, 50, seed=1)
    weight_D, bias_D = norm_of(device, 50, FP32)
    expected = exact_layer_norm(
        (x_TD + delta_TD).double(), (50,), weight_D.double(), bias_D.double(), 1e-5
    )
    row_kernels.layer_norm(x_TD, weight_D, bias_D, 1e-5, x_TD, delta_TD=delta_TD)
    check(x_TD, expected, FP32)


def test_layer_norm_without_bias(device: torch.device) -> None:
    x_TD, (weight_D, _) = random(device, 3, 50), norm_of(device, 50, FP32)
    with output(device, 3, 50, FP32) as out_TD:
        row_kernels.layer_norm(x_TD, weight_D, None, 1e-5, out_TD)
    check(out_TD, exact_layer_norm(x_TD.double(), (50,), weight_D.double(), eps=1e-5), FP32)


@pytest.mark.parametrize("dtype", [FP16, BF16])
@pytest.mark.parametrize(("rows", "width"), [(1, 64), (3, 100), (2, 1152)])
def test_queries_and_keys_are_normalised_where_they_are(
    device: torch.device, dtype: torch.dtype, rows: int, width: int
) -> None:
    before = (random(device, rows, 3 * width) + 10).to(dtype)
    gains = [norm_of(device, width, dtype)[0] * factor for factor in (1, 2)]
    with output(device, rows, 3 * width, dtype) as qkv_TE:
        qkv_TE.copy_(before)
        row_kernels.query_key_norm(qkv_TE, gains[0], gains[1], 1e-5)
    *parts, values = qkv_TE.chunk(3, dim=1)
    for found, part, gain_D in zip(parts, before.chunk(3, dim=1), gains, strict=False):
        expected = exact_layer_norm(part.double(), (width,), gain_D.double(), eps=1e-5)
        check(found, expected, dtype, sums=2e-5)
    assert torch.equal(values, before[:, 2 * width :])


@pytest.mark.parametrize("has_delta", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 64), (4, 100), (2, 2560)])
def test_layer_norm_in_8_bit_carries_each_rows_largest_magnitude(
    fp8_device: torch.device, rows: int, width: int, *, has_delta: bool
) -> None:
    device = fp8_device
    x_TD = random(device, rows, width, dtype=FP16)
    delta_TD = random(device, rows, width, dtype=FP16, seed=1) if has_delta else None
    weight_D, bias_D = norm_of(device, width, FP16)
    summed = (x_TD.float() + (0 if delta_TD is None else delta_TD.float())).double()
    expected = exact_layer_norm(summed, (width,), weight_D.double(), bias_D.double(), 1e-5)
    with output(device, rows, width, FP8) as out_TD, output(device, rows, 1, FP32) as scales_T1:
        row_kernels.layer_norm(
            x_TD, weight_D, bias_D, 1e-5, out_TD, delta_TD=delta_TD, scales_T1=scales_T1
        )
    largest = expected.abs().amax(dim=1, keepdim=True)
    torch.testing.assert_close(scales_T1.double(), largest / 448, rtol=1e-5, atol=0)
    assert (out_TD.float().abs().amax(dim=1) == 448).all()
    check(out_TD, expected / scales_T1.double(), FP8)


def test_a_row_of_zeros_stays_zeros_in_8_bit(fp8_device: torch.device) -> None:
    x_TD = torch.zeros(2, 64, device=fp8_device)
    ones, zeros = torch.ones(64, device=fp8_device), torch.zeros(64, device=fp8_device)
    with output(fp8_device, 2, 64, FP8) as out_TD, output(fp8_device, 2, 1, FP32) as scales_T1:
        row_kernels.layer_norm(x_TD, ones, zeros, 1e-5, out_TD, scales_T1=scales_T1)
    assert not out_TD.float().any()
    assert (scales_T1 > 0).all()


@pytest.mark.parametrize("dtype", [FP16, BF16, FP32])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 24), (2, 100), (2, 2050), (1, 4097)])
def test_gelu(device: torch.device, dtype: torch.dtype, rows: int, width: int) -> None:
    x_TF = amid_nan((2 * random(device, rows, 2 * width)).to(dtype))
    exact = exact_gelu(x_TF.double())
    plain = row_kernels.gelu(x_TF)
    assert (plain.shape, plain.dtype) == ((rows, 2 * width), dtype)
    check(plain, exact, dtype, sums=GELU_ERROR + 2**-20)
    gated = row_kernels.gelu(x_TF, gated=True)
    assert (gated.shape, gated.dtype) == ((rows, width), dtype)
    value = x_TF[:, width:].double()
    check(gated, exact[:, :width] * value, dtype, sums=10 * (GELU_ERROR + 2**-20))


@pytest.mark.parametrize("dtype", [FP16, BF16, FP32])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 24), (1, 2560)])
def test_gated_silu(device: torch.device, dtype: torch.dtype, rows: int, width: int) -> None:
    x_TF = amid_nan((2 * random(device, rows, 2 * width)).to(dtype))
    found = row_kernels.gated_silu(x_TF)
    assert (found.shape, found.dtype) == ((rows, width), dtype)
    gate, value = x_TF.double().chunk(2, dim=1)
    check(found, exact_silu(gate) * value, dtype, sums=2**-19)


def test_silu_of_anything_finite_is_finite(device: torch.device) -> None:
    size = torch.logspace(-44, 38.5, 2000, dtype=torch.float64).float().clamp(max=3.4e38)
    x = torch.cat([size, -size, torch.zeros(1)]).to(device)
    found = row_kernels.gated_silu(torch.cat([x, torch.ones_like(x)])[None])[0]
    torch.testing.assert_close(found.double(), exact_silu(x.double()), rtol=1e-5, atol=1e-6)


def test_gelu_is_as_close_as_it_says(device: torch.device) -> None:
    x = torch.linspace(-12, 12, 240_001, device=device)
    away = (row_kernels.gelu(x[None])[0].double() - exact_gelu(x.double())).abs()
    # Rounding comes on top: some two steps of fp32.
    assert (away <= GELU_ERROR + 2**-22 * x.abs()).all()


def test_gelu_of_anything_finite_is_finite(device: torch.device) -> None:
    size = torch.logspace(-44, 38.5, 2000, dtype=torch.float64).float().clamp(max=3.4e38)
    x = torch.cat([size, -size, torch.zeros(1)]).to(device)
    found = row_kernels.gelu(x[None])[0]
    assert found.isfinite().all()
    torch.testing.assert_close(found[x > 8], x[x > 8], rtol=2**-22, atol=0)
    assert not found[x < -8].any()


def test_gelu_of_nan_is_nan_and_of_infinity_no_other_number(device: torch.device) -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 1.0], device=device)
    nan, large, small, one = row_kernels.gelu(x[None])[0].tolist()
    assert math.isnan(nan)
    assert math.isnan(large) or large == math.inf
    assert math.isnan(small) or small == 0
    assert one == pytest.approx(0.841345, abs=1e-5)


@pytest.mark.parametrize("dtype", [FP16, BF16, FP32])
@pytest.mark.parametrize("trim", [0, 1])
@pytest.mark.parametrize(("lengths", "width"), [([3], 1), ([9, 3, 7, 8, 3, 300], 100), ([4], 300)])
def test_mean_pool(
    device: torch.device, dtype: torch.dtype, trim: int, lengths: list[int], width: int
) -> None:
    pack = pack_sequences(tokens_of(lengths, 0, 9), np.arange(len(lengths)), multiple_of=16)
    hidden_TD = random(device, len(pack.tokens_T), width, dtype=dtype)
    hidden_TD[pack.used :] = math.nan
    found = row_kernels.mean_pool(hidden_TD, pack.cu_seqlens.to(device), trim)
    assert (found.shape, found.dtype) == ((len(lengths), width), FP32)
    check(found, mean_pool(hidden_TD.double(), pack, trim).double(), FP32)


def twin_product(
    rows_TK: Tensor,
    weight_NK: Tensor,
    before: Tensor,
    bias_N: Tensor | None,
    row_scales_T1: Tensor | None,
    column_scales_N: Tensor | None,
    finish: Finish,
    out_factor: float,
) -> Tensor:
    """Multiply and finish in fp64."""
    y = rows_TK.double() @ weight_NK.double().T
    y = y if row_scales_T1 is None else y * row_scales_T1.double()
    y = y if column_scales_N is None else y * column_scales_N.double()
    y = y if bias_N is None else y + bias_N.double()
    if finish is Finish.GELU:
        y = exact_gelu(y)
    elif finish.is_gated:
        activation = exact_silu if finish is Finish.GATED_SILU else exact_gelu
        y = activation(y[:, 0::2]) * y[:, 1::2]
    y = y * out_factor
    return y + before.double() if finish is Finish.RESIDUAL else y


def check_product(
    device: torch.device,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    out_dtype: torch.dtype,
    finish: Finish,
    *,
    bias: torch.dtype | None = None,
    scaled: bool = False,
    out_factor: float = 1.0,
) -> None:
    """Compare a product with its twin; `shape` is rows, columns, depth."""
    rows, columns, depth = shape
    rows_TK = amid_nan((random(device, rows, depth) * depth**-0.5).to(dtype))
    if dtype == FP8:  # not among its subnormals
        rows_TK = amid_nan((rows_TK.float() * 16).to(FP8))
    weight_NK = random(device, columns, depth, dtype=dtype, seed=1)
    options = (
        None if bias is None else random(device, columns, dtype=bias, seed=2),
        random(device, rows, 1, seed=3).abs() + 0.1 if scaled else None,
        (random(device, columns, seed=4).abs() + 0.1) / 16 if scaled else None,
        finish,
        out_factor,
    )
    width = columns // 2 if finish.is_gated else columns
    before = random(device, rows, width, dtype=out_dtype, seed=5).clone()
    expected = twin_product(rows_TK, weight_NK, before, *options)
    if finish.is_gated:
        expected = expected[:, torch.argsort(paired_order(width))]
    elif out_dtype == FP8:
        expected = expected[:, stored_order(width)]
    with output(device, rows, width, out_dtype) as out_TN:
        if finish is Finish.RESIDUAL:
            out_TN.copy_(before)
        product(
            rows_TK, weight_NK, out_TN, bias_N=options[0], row_scales_T1=options[1],
            column_scales_N=options[2], finish=finish, out_factor=out_factor,
        )  # fmt: skip
    # Of sums of e4m3, Hopper's tensor cores keep 13 bits behind the point of the largest term.
    size = float(expected.abs().max()) if dtype == FP8 else 4 * out_factor
    fine = 2**-9 if dtype == FP8 and device.type == "cuda" else 2**-15
    check(out_TN, expected, out_dtype, sums=size * fine + 4 * out_factor * GELU_ERROR)


@pytest.mark.parametrize("finish", list(Finish))
@pytest.mark.parametrize("dtype", [FP16, BF16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_in_16_bit(
    product_device: torch.device, dtype: torch.dtype, finish: Finish, *, bias: bool
) -> None:
    shape = (129, 288, 72)
    check_product(product_device, shape, dtype, dtype, finish, bias=dtype if bias else None)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("finish", "out_dtype"),
    [(finish, FP16) for finish in Finish]
    + [(finish, FP8) for finish in Finish if finish is not Finish.RESIDUAL],
)
def test_a_product_in_8_bit(
    product_device: torch.device, out_dtype: torch.dtype, finish: Finish, *, bias: bool
) -> None:
    check_product(
        product_device, (129, 288, 144), FP8, out_dtype, finish,
        bias=FP32 if bias else None, scaled=True, out_factor=4.0,
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 127, 128, 129])
@pytest.mark.parametrize("columns", [16, 240, 256, 264])
@pytest.mark.parametrize("depth", [8, 64, 136])
def test_a_product_of_any_shape(
    product_device: torch.device, rows: int, columns: int, depth: int
) -> None:
    check_product(product_device, (rows, columns, depth), FP16, FP16, Finish.PLAIN, bias=FP16)


@pytest.mark.parametrize("finish", [Finish.GATED_GELU, Finish.RESIDUAL])
def test_a_product_of_more_rows_than_share_weights(
    product_device: torch.device, finish: Finish
) -> None:
    check_product(product_device, (2600, 544, 16), FP16, FP16, finish, bias=FP16)


@pytest.mark.parametrize("dtype", [FP16, FP8])
def test_a_row_of_a_product_is_the_same_bytes_among_any_others(
    product_device: torch.device, dtype: torch.dtype
) -> None:
    weight_NK = random(product_device, 272, 144, dtype=dtype, seed=1)
    row = random(product_device, 1, 144, dtype=dtype, seed=2)
    found = []
    for rows, place in ((1, 0), (129, 128), (129, 3), (300, 200)):
        rows_TK = random(product_device, rows, 144, dtype=dtype, seed=rows)
        rows_TK[place] = row[0]
        with output(product_device, rows, 272, FP16) as out_TN:
            product(rows_TK, weight_NK, out_TN)
        found.append(out_TN[place].view(torch.int16))
    assert all(torch.equal(other, found[0]) for other in found)


def test_the_stored_order_is_one_of_32_columns_again_and_again() -> None:
    order = stored_order(96)
    assert sorted(order.tolist()) == list(range(96))
    assert order[:10].tolist() == [0, 1, 8, 9, 16, 17, 24, 25, 2, 3]
    assert torch.equal(order[32:], order[:64] + 32)
