"""The floor of an encoder's time: its matrix products alone, computed by the vendor's library."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn.functional import linear

from virnucpro.encoders import Esm2Config
from virnucpro.encoders.packing import one_thread_an_operation

_FP8_LARGEST = 448.0


def products_alone(
    config: Esm2Config,
    tokens: int,
    passes: int,
    precision: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Callable[[], None]:
    """Return a function that computes the four matrix products of every layer of an ESM-2.

    On a CPU it computes as many passes at the same time as the encoder computes packs.

    Args:
        config: sizes of the ESM-2.
        tokens: number of rows of each product.
        passes: number of passes through all layers.
        precision: name of the precision. `fp8` multiplies e4m3 values with one scale per row; all
            others multiply values of `dtype`.
        device: device that computes.
        dtype: type of the operands, except in fp8.
    """
    shapes = {
        "qkv": (3 * config.width, config.width),
        "out": (config.width, config.width),
        "up": (4 * config.width, config.width),
        "down": (config.width, 4 * config.width),
    }
    make = _fp8_product if precision == "fp8" else _product
    products = [make(tokens, *shape, device, dtype) for shape in shapes.values()]

    @torch.inference_mode()
    def all_layers(_pass: int = 0) -> None:
        for _ in range(config.layers):
            for product in products:
                product()

    def side_by_side() -> None:
        with one_thread_an_operation() as threads, ThreadPoolExecutor(threads) as pool:
            list(pool.map(all_layers, range(passes)))

    def one_by_one() -> None:
        for _ in range(passes):
            all_layers()

    return side_by_side if device.type == "cpu" else one_by_one


def _operands(
    tokens: int, columns: int, depth: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device, generator=generator).to(dtype)

    return normal(tokens, depth), normal(columns, depth) * 0.02, normal(columns)


def _product(
    tokens: int, columns: int, depth: int, device: torch.device, dtype: torch.dtype
) -> Callable[[], Tensor]:
    rows, weight, bias = _operands(tokens, columns, depth, device, dtype)
    return lambda: linear(rows, weight, bias)


def _fp8_product(
    tokens: int, columns: int, depth: int, device: torch.device, _dtype: torch.dtype
) -> Callable[[], Tensor]:
    rows, weight, _ = _operands(tokens, columns, depth, device, torch.float32)

    def quantised(values: Tensor) -> tuple[Tensor, Tensor]:
        scales = values.abs().amax(dim=1, keepdim=True) / _FP8_LARGEST
        return (values / scales).to(torch.float8_e4m3fn), scales

    rows_8, row_scales = quantised(rows)
    weight_8, weight_scales = quantised(weight)
    column_scales = weight_scales.t().contiguous()
    return lambda: torch._scaled_mm(  # noqa: SLF001 (PyTorch has no public name for it)
        rows_8, weight_8.t(), row_scales, column_scales,
        out_dtype=torch.bfloat16, use_fast_accum=True,
    )  # fmt: skip
