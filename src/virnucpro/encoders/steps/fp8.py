"""The steps with 8-bit (e4m3) products on a GPU; everything between them is computed in fp16.

Each row of a LayerNorm is scaled by its largest magnitude. The results of attention and GELU are
scaled by a bound that follows from the weights alone, so that the kernel that computes them also
quantises them. A bound may be far too large, but 8-bit floating point is as precise a factor of
1,000 below its largest number as at it.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.kernels import rows as row_kernels
from virnucpro.encoders.kernels.products import Finish, product, stored_order
from virnucpro.encoders.network import Transformer
from virnucpro.encoders.steps import GeluBlock, Rows
from virnucpro.encoders.steps.fused import FusedSteps, Positions

FP8 = torch.float8_e4m3fn
_LARGEST = 448.0
#: Factor by which rounding may enlarge a product: half a step of 2^-3 for each operand.
_ROUNDED = (1 + 2**-4) ** 2


class Fp8Linear(nn.Module):
    """An 8-bit product.

    Args:
        linear: the product that it replaces.
        mean_K: mean input; the error that rounding the weight adds there is subtracted from the
            bias.
        in_scale: factor of the input, in addition to the scale of each row.
        out_factors_N: factors of the result's columns.

    Attributes:
        weight_NK: weight, e4m3.
        scales_N: scales of the result's columns, fp32.
        bias_N: bias, fp16.
    """

    weight_NK: Tensor
    scales_N: Tensor
    bias_N: Tensor

    def __init__(
        self,
        linear: nn.Linear,
        mean_K: Tensor | None = None,
        in_scale: float = 1.0,
        out_factors_N: Tensor | None = None,
    ) -> None:
        super().__init__()
        weight_NK, scales_N1 = quantise_rows(linear.weight)
        bias_N = linear.bias.detach().float()
        if mean_K is not None:
            bias_N = bias_N + (linear.weight.float() - weight_NK.float() * scales_N1) @ mean_K
        factors_N = torch.ones_like(scales_N1[:, 0]) if out_factors_N is None else out_factors_N
        self.register_buffer("weight_NK", weight_NK)
        self.register_buffer("scales_N", scales_N1[:, 0] * in_scale * factors_N)
        self.register_buffer("bias_N", (bias_N * factors_N).half())

    def take_stored_order(self) -> None:
        """Expect input whose columns lie in `stored_order`."""
        order = stored_order(self.weight_NK.shape[1]).to(self.weight_NK.device)
        self.weight_NK = self.weight_NK.view(torch.uint8)[:, order].view(FP8)


class Fp8Up(Fp8Linear):
    """The product before GELU.

    Attributes:
        gelu_factor: factor that makes the result of GELU fit into e4m3.
    """

    gelu_factor: float


def quantise_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows in e4m3 and the scale of each, shape (N, 1), fp32."""
    values = values.detach().float()
    scales_N1 = values.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _LARGEST
    return (values / scales_N1).to(FP8), scales_N1


def bound(norm: nn.LayerNorm, weight_NK: Tensor, bias_N: Tensor) -> float:
    """Return an upper bound of |weight @ norm(x) + bias| by Cauchy-Schwarz, rounding included."""
    weight_NK = weight_NK.detach().float()
    lengths_N = (weight_NK * norm.weight.float()).norm(dim=1) * norm.weight.numel() ** 0.5
    constant_N = weight_NK @ norm.bias.float() + bias_N.float()
    return _ROUNDED * float((lengths_N + constant_N.abs()).max())


def quantise(network: Transformer, means_K: Mapping[nn.Module, Tensor]) -> None:
    """Replace the products of all blocks by 8-bit ones, and give the network the steps.

    Args:
        network: a network of `GeluBlock`s in 16 bit.
        means_K: mean input of each product.
    """
    for block in cast("Iterable[GeluBlock]", network.blocks):
        quantise_block(block, means_K)
    network.steps = Fp8Steps(network.norm)


@torch.no_grad()
def quantise_block(
    block: GeluBlock, means_K: Mapping[nn.Module, Tensor] = MappingProxyType({})
) -> None:
    """Replace the products of a block by 8-bit ones.

    Args:
        block: a block in 16 bit.
        means_K: mean input of each product, to correct the rounding of its weight.
    """
    width = len(block.out.weight)
    v_weight, v_bias = block.qkv.weight[2 * width :], block.qkv.bias[2 * width :]
    mixed_scale = bound(block.attention_norm, v_weight, v_bias) / _LARGEST
    hidden_scale = bound(block.feed_norm, block.up.weight, block.up.bias) / _LARGEST
    v_factors = torch.ones(3 * width, device=v_weight.device)
    v_factors[2 * width :] /= mixed_scale
    up = Fp8Up(block.up, means_K.get(block.up))
    up.gelu_factor = 1 / hidden_scale
    down = Fp8Linear(block.down, means_K.get(block.down), hidden_scale)
    down.take_stored_order()
    replacements = {
        "qkv": Fp8Linear(block.qkv, means_K.get(block.qkv), out_factors_N=v_factors),
        "out": Fp8Linear(block.out, means_K.get(block.out), mixed_scale),
        "up": up,
        "down": down,
    }
    for name, replacement in replacements.items():
        block.add_module(name, replacement)


class Fp8Steps(FusedSteps):
    """`Steps` of a network whose blocks went through `quantise_block`.

    Args:
        last: the network's last LayerNorm; its result stays fp16, since no product follows.
    """

    def __init__(self, last: nn.LayerNorm) -> None:
        self._last = last

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Attend; the values are scaled already, so that their mixture fits into e4m3."""
        return Rows(self._attention(qkv_TE, heads, positions, FP8))

    def norm(self, x_TD: Tensor, norm: nn.LayerNorm) -> Rows:
        """Normalise and quantise in one pass."""
        if norm is self._last:
            return super().norm(x_TD, norm)
        values = torch.empty_like(x_TD, dtype=FP8)
        scales_T1 = x_TD.new_empty(len(x_TD), 1, dtype=torch.float32)
        row_kernels.layer_norm(x_TD, norm.weight, norm.bias, norm.eps, values, scales_T1=scales_T1)
        return Rows(values, scales_T1)

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Multiply, with the library if it takes row scales: it is faster when nothing follows."""
        linear = cast("Fp8Linear", linear)
        if _library_takes_row_scales(rows.values.device):
            return torch._scaled_mm(  # noqa: SLF001 (PyTorch has no public name for it)
                rows.values, linear.weight_NK.t(),
                cast("Tensor", rows.scales_T1), linear.scales_N[None],
                bias=linear.bias_N, out_dtype=torch.float16, use_fast_accum=True,
            )  # fmt: skip
        shape = len(rows.values), len(linear.weight_NK)
        out_TN = rows.values.new_empty(shape, dtype=torch.float16)
        _product(rows, linear, out_TN, Finish.PLAIN)
        return out_TN

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, apply GELU and quantise at once."""
        linear = cast("Fp8Up", linear)
        out_TN = rows.values.new_empty(len(rows.values), len(linear.weight_NK))
        _product(rows, linear, out_TN, Finish.GELU, linear.gelu_factor)
        return Rows(out_TN)

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Multiply and add at once, then normalise; `x_TD` is overwritten."""
        _product(rows, cast("Fp8Linear", linear), x_TD, Finish.RESIDUAL)
        return x_TD, self.norm(x_TD, norm)


def _library_takes_row_scales(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def _product(
    rows: Rows,
    linear: Fp8Linear,
    out_TN: Tensor,
    finish: Finish,
    out_factor: float = 1.0,
) -> None:
    product(
        rows.values, linear.weight_NK, out_TN,
        bias_N=linear.bias_N, row_scales_T1=rows.scales_T1, column_scales_N=linear.scales_N,
        finish=finish, out_factor=out_factor,
    )  # fmt: skip
