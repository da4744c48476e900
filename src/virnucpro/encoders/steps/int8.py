"""The steps with 8-bit products on a CPU, by oneDNN; the rest is computed in fp32.

A byte stands for its distance from the byte of 0, times a step. Steps are fixed when the network is
loaded, so that the result of a sequence does not depend on its neighbours. The result of a
LayerNorm has unit variance; its gain and bias are moved into the weights behind it. The products
that add to the stream return rows of mean 0, so that a LayerNorm is a division by a length. They
keep the mean if the caller asks for the stream itself. The results of attention and GELU get the
range seen in sample sequences, with some room. The error that rounding the weights adds at the mean
input is subtracted from the bias.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.network import Transformer
from virnucpro.encoders.steps import GeluBlock, Rows
from virnucpro.encoders.steps.activations import Seen
from virnucpro.encoders.steps.cpu import LONGEST_WEIGHTS, CpuSteps, pair_rows, products_by_heads
from virnucpro.encoders.steps.plain import Positions

#: Largest magnitude of a rounded number, and the byte that stands for 0 if both signs occur.
_LARGEST, _MIDDLE = 127, 128
#: Standard deviations of a normalised row that a byte must hold at least.
_DEVIATIONS = 8.0
#: Largest value that a byte holds, as a multiple of the largest one seen in the samples.
_ROOM = 1.5
#: Least value of GELU.
_LEAST_GELU = -0.17
#: Largest magnitude of an attention score; fp32 must hold its exponential.
_LARGEST_SCORE = 60.0
#: Rows of a product for which oneDNN arranges the weights, and rows that are normalised at a time,
#: few enough to stay in a core's cache.
_PRODUCT_ROWS, _NORM_ROWS = 2048, 1024


class Grid(NamedTuple):
    """The numbers that bytes stand for.

    Attributes:
        step: difference of two neighbours.
        zero: the byte that stands for 0.
    """

    step: float
    zero: int = _MIDDLE


class Int8Linear(nn.Module):
    """A product of bytes with an int8 weight, which has one scale for each row.

    Args:
        weight_NK: weight, fp32.
        bias_N: bias.
        grid: grid of the input.
        mean_K: mean of the input.
        out: grid of the result, which then is the GELU in bytes; by default the result is fp32.
    """

    @torch.no_grad()
    def __init__(
        self, weight_NK: Tensor, bias_N: Tensor, grid: Grid, mean_K: Tensor, out: Grid | None = None
    ) -> None:
        super().__init__()
        self._grid, self._out = grid, out
        self._scales_N = (weight_NK.abs().amax(dim=1) / _LARGEST).clamp(min=1e-30)
        rounded_NK = (weight_NK / self._scales_N[:, None]).round()
        error_NK = weight_NK - rounded_NK * self._scales_N[:, None]
        self._bias_N = bias_N + error_NK @ mean_K
        self._zeros_N = torch.zeros(len(bias_N), dtype=torch.int64)
        shape = [_PRODUCT_ROWS, weight_NK.shape[1]]
        self._packed = torch.ops.onednn.qlinear_prepack(rounded_NK.to(torch.int8), shape)

    def forward(self, bytes_TK: Tensor) -> Tensor:
        """Return the product in fp32, or its GELU in bytes."""
        grid, dtype, last = Grid(1.0, 0), torch.float32, "none"
        if self._out:
            grid, dtype, last = self._out, torch.uint8, "gelu"
        product = torch.ops.onednn.qlinear_pointwise(
            bytes_TK, *self._grid, self._packed, self._scales_N, self._zeros_N, self._bias_N,
            *grid, dtype, last, [], "none",
        )  # fmt: skip
        return cast("Tensor", product)

    def add_to(self, x_TN: Tensor, bytes_TK: Tensor) -> Tensor:
        """Return `x_TN` plus the product; `x_TN` is overwritten."""
        total = torch.ops.onednn.qlinear_pointwise.binary(
            bytes_TK, *self._grid, self._packed, self._scales_N, self._zeros_N, x_TN, self._bias_N,
            1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "none",
        )  # fmt: skip
        return cast("Tensor", total)


class Int8Norm(nn.Module):
    """A LayerNorm without gain and bias that returns bytes.

    Args:
        norm: the LayerNorm that it replaces.
        grid: grid of the result.
        is_centred: whether the mean of each input row is 0.
    """

    def __init__(self, norm: nn.LayerNorm, grid: Grid, *, is_centred: bool) -> None:
        super().__init__()
        self._square = grid.step**2
        self._width, self._eps = norm.weight.numel(), norm.eps
        self._is_centred = is_centred

    def forward(self, x_TD: Tensor) -> Tensor:
        """Normalise some rows at a time."""
        rounded_TD = torch.empty_like(x_TD, dtype=torch.int8)
        parts = (x.split(_NORM_ROWS) for x in (x_TD, rounded_TD))
        for given_RD, out_RD in zip(*parts, strict=True):
            x_RD = given_RD if self._is_centred else given_RD - _means(given_RD)
            squares_R1 = torch.linalg.vector_norm(x_RD, dim=1, keepdim=True).square_()
            variances_R1 = squares_R1.mul_(1 / self._width).add_(self._eps)
            out_RD.copy_(_rounded(x_RD * variances_R1.mul_(self._square).rsqrt_()))
        return _bytes(rounded_TD)


class Int8Steps(CpuSteps):
    """`Steps` of a network whose blocks went through `quantise`.

    Args:
        is_centred: whether to keep the rows of the stream at a mean of 0.
    """

    def __init__(self, *, is_centred: bool) -> None:
        self._is_centred = is_centred

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Attend; the values are in units of the step already."""
        turns = cast("Tensor", positions.turns)
        return Rows(_bytes(self._attend(qkv_TE, heads, positions.pack, turns, torch.int8)))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend, dividing by the sum of the exponentials at the end, and round."""
        if q.shape[2] > LONGEST_WEIGHTS:
            return _rounded(super()._mix(q, k, v))
        scores = products_by_heads(q, k.transpose(2, 3))
        weights = scores.clamp_(-_LARGEST_SCORE, _LARGEST_SCORE).exp_()
        mixed = products_by_heads(weights, v)
        return _rounded(mixed.mul_(weights.sum(dim=3, keepdim=True).reciprocal_()))

    def norm(self, x_TD: Tensor, norm: nn.Module) -> Rows:
        """Normalise; if rows are to be centred, the mean is subtracted from `x_TD` in place."""
        return Rows(norm(x_TD.sub_(_means(x_TD)) if self._is_centred else x_TD))

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, apply GELU and round at once."""
        return Rows(linear(rows.values))

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.Module
    ) -> tuple[Tensor, Rows]:
        """Multiply into the stream, then normalise; `x_TD` is overwritten."""
        x_TD = cast("Int8Linear", linear).add_to(x_TD, rows.values)
        return x_TD, Rows(norm(x_TD))


def _means(x_TD: Tensor) -> Tensor:
    return x_TD.mean(dim=1, keepdim=True)


def _rounded(values: Tensor) -> Tensor:
    """Round to the whole numbers of an int8, in place."""
    return values.round_().clamp_(-_LARGEST, _LARGEST)


def _bytes(rounded: Tensor) -> Tensor:
    """Return int8 as bytes around `_MIDDLE`; `rounded` is overwritten."""
    return rounded.bitwise_xor_(-_MIDDLE).view(torch.uint8)


@torch.no_grad()
def quantise(network: Transformer, seen: Mapping[nn.Module, Seen], *, is_centred: bool) -> None:
    """Replace products and LayerNorms of all blocks by 8-bit ones, and give the network the steps.

    Args:
        network: a network of `GeluBlock`s in fp32, on a CPU.
        seen: inputs of its products and results of its LayerNorms.
        is_centred: whether the rows of the stream are kept at a mean of 0.
    """
    quantiser = _Quantiser(seen, is_centred=is_centred)
    for block in cast("Iterable[GeluBlock]", network.blocks):
        pair_rows(block.qkv, network.config.heads)
        quantiser.replace(block)
    network.steps = Int8Steps(is_centred=is_centred)


@torch.no_grad()
def quantise_pair(
    norm: nn.LayerNorm, linear: nn.Linear, seen: Mapping[nn.Module, Seen]
) -> tuple[Int8Norm, Int8Linear]:
    """Return a LayerNorm of centred rows and the product behind it in 8 bit."""
    return _Quantiser(seen, is_centred=True).after_norm(norm, linear)


@torch.inference_mode()
def product_fault() -> str:
    """Return what is wrong with products of bytes on this CPU, or an empty string.

    Without VNNI instructions, or if ONEDNN_MAX_CPU_ISA forbids them, oneDNN adds two products in
    16 bits, which are too few for the largest.
    """
    rows, terms, columns = 64, 64, 32
    product = Int8Linear(
        torch.ones(columns, terms), torch.zeros(columns), Grid(1.0, 0), torch.zeros(terms)
    )
    found = product(torch.full((rows, terms), 255, dtype=torch.uint8))
    is_right = torch.allclose(found, torch.full((rows, columns), 255.0 * terms))
    return (
        ""
        if is_right
        else "products of bytes are not exact, since oneDNN uses no instructions for them"
    )


class _Quantiser:
    """Makes 8-bit products and LayerNorms.

    Args:
        seen: inputs of the products and results of the LayerNorms.
        is_centred: whether the rows of the stream are kept at a mean of 0.
    """

    def __init__(self, seen: Mapping[nn.Module, Seen], *, is_centred: bool) -> None:
        self._seen, self._is_centred = seen, is_centred

    def replace(self, block: GeluBlock) -> None:
        """Replace those of a block whose queries and keys are paired."""
        width = len(block.out.weight)
        mixed = Grid(_ROOM * self._seen[block.out].peak / _LARGEST)
        step = (_ROOM * self._seen[block.down].peak - _LEAST_GELU) / (2 * _MIDDLE - 1)
        hidden = Grid(step, round(-_LEAST_GELU / step))
        factors_N = torch.ones(3 * width)
        factors_N[2 * width :] /= mixed.step
        attention_norm, qkv = self.after_norm(block.attention_norm, block.qkv, factors_N)
        feed_norm, up = self.after_norm(block.feed_norm, block.up, out=hidden)
        out, down = self._into_stream(block.out, mixed), self._into_stream(block.down, hidden)
        for name, module in {
            "attention_norm": attention_norm, "qkv": qkv, "out": out,
            "feed_norm": feed_norm, "up": up, "down": down,
        }.items():  # fmt: skip
            block.add_module(name, module)

    def after_norm(
        self,
        norm: nn.LayerNorm,
        linear: nn.Linear,
        factors_N: Tensor | None = None,
        out: Grid | None = None,
    ) -> tuple[Int8Norm, Int8Linear]:
        """Return a LayerNorm and the product behind it, which takes over gain and bias.

        Args:
            norm: the LayerNorm.
            linear: the product; each input row is one normalised row, or several end to end.
            factors_N: factors of the result's columns.
            out: as for `Int8Linear`.
        """
        grid = Grid(max(_DEVIATIONS, _ROOM * self._seen[norm].peak) / _LARGEST)
        times = linear.in_features // norm.weight.numel()
        gain_K, shift_K, mean_K = (
            x.repeat(times) for x in (norm.weight, norm.bias, self._seen[norm].mean_K)
        )
        weight_NK, bias_N = linear.weight * gain_K, linear.bias + linear.weight @ shift_K
        if factors_N is not None:
            weight_NK, bias_N = weight_NK * factors_N[:, None], bias_N * factors_N
        product = Int8Linear(weight_NK, bias_N, grid, mean_K, out)
        return Int8Norm(norm, grid, is_centred=self._is_centred), product

    def _into_stream(self, linear: nn.Linear, grid: Grid) -> Int8Linear:
        """Return a product that adds to the stream."""
        weight_NK: Tensor = linear.weight
        bias_N: Tensor = linear.bias
        if self._is_centred:
            weight_NK, bias_N = weight_NK - weight_NK.mean(dim=0), bias_N - bias_N.mean()
        return Int8Linear(weight_NK, bias_N, grid, self._seen[linear].mean_K)
