"""The steps of an ESM-2 with products of 8 bit on a CPU, by oneDNN; the rest in fp32.

A byte stands for a step times its distance from the byte of 0. Steps are fixed when a network is
loaded, so that what a sequence gives does not depend on its neighbours. What leaves a LayerNorm has
unit variance before gain and bias, which go into the weights behind it. The products that add to
the stream give rows of mean 0, so that a LayerNorm is one division by a length, unless the stream
itself is asked for, of which the mean is a part. What attention and GELU give has the range seen in
calibration, and room. What rounding the weights does to the mean input is taken off the bias.
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.esm2 import Esm2, Esm2Block
from virnucpro.encoders.six_frames import SixFrames
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.steps.calibration import Seen, seen_in
from virnucpro.encoders.steps.cpu import LONGEST_WEIGHTS, CpuSteps, pair_rows, products_by_heads
from virnucpro.encoders.steps.plain import Positions

#: Largest magnitude of a rounded number, and the byte that stands for 0 where signs are alike.
_LARGEST, _MIDDLE = 127, 128
#: Standard deviations of a normalised row that fit at least.
_DEVIATIONS = 8.0
#: How many times what was seen in calibration fits.
_ROOM = 1.5
#: GELU's least value.
_LEAST_GELU = -0.17
#: Largest magnitude of a score of attention, whose exponential fp32 must hold.
_LARGEST_SCORE = 60.0
#: Rows of a product that oneDNN lays weights out for, and rows that are normalised at a time, few
#: enough to stay in a core's cache.
_PRODUCT_ROWS, _NORM_ROWS = 2048, 1024


class Grid(NamedTuple):
    """What bytes stand for.

    Attributes:
        step: what one more stands for.
        zero: the byte that stands for 0.
    """

    step: float
    zero: int = _MIDDLE


class Int8Linear(nn.Module):
    """A product of bytes with a weight of int8, which has a scale a row.

    Args:
        weight_NK: of the product, fp32.
        bias_N: of the product.
        grid: of the bytes that go in.
        mean_K: of what goes in.
        out: of the bytes that come out, which are those of GELU; by default fp32 comes out.
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
        """Return `x_TN`, which is written over, plus the product."""
        total = torch.ops.onednn.qlinear_pointwise.binary(
            bytes_TK, *self._grid, self._packed, self._scales_N, self._zeros_N, x_TN, self._bias_N,
            1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "none",
        )  # fmt: skip
        return cast("Tensor", total)


class Int8Norm(nn.Module):
    """A LayerNorm without gain and bias that gives bytes.

    Args:
        norm: whose width and eps it has.
        grid: of the bytes.
        is_centred: whether rows come with a mean of 0.
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
    """`Steps` of an ESM-2 whose products and LayerNorms went through `quantise`.

    Args:
        is_centred: whether the rows of the stream shall have a mean of 0.
    """

    def __init__(self, *, is_centred: bool) -> None:
        self._is_centred = is_centred

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Attend; values come in units of the step."""
        turns = cast("Tensor", positions.turns)
        return Rows(_bytes(self._attend(qkv_TE, heads, positions.pack, turns, torch.int8)))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend, exponentials divided by their sum at the end, and round."""
        if q.shape[2] > LONGEST_WEIGHTS:
            return _rounded(super()._mix(q, k, v))
        scores = products_by_heads(q, k.transpose(2, 3))
        weights = scores.clamp_(-_LARGEST_SCORE, _LARGEST_SCORE).exp_()
        mixed = products_by_heads(weights, v)
        return _rounded(mixed.mul_(weights.sum(dim=3, keepdim=True).reciprocal_()))

    def norm(self, x_TD: Tensor, norm: nn.Module) -> Rows:
        """Normalise; the mean is taken off the stream, which is written over, where it should."""
        return Rows(norm(x_TD.sub_(_means(x_TD)) if self._is_centred else x_TD))

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, apply GELU and round at once."""
        return Rows(linear(rows.values))

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.Module
    ) -> tuple[Tensor, Rows]:
        """Multiply into the stream, then normalise; `x_TD` is written over."""
        x_TD = cast("Int8Linear", linear).add_to(x_TD, rows.values)
        return x_TD, Rows(norm(x_TD))


def _means(x_TD: Tensor) -> Tensor:
    return x_TD.mean(dim=1, keepdim=True)


def _rounded(values: Tensor) -> Tensor:
    """Round to whole numbers of an int8; values are written over."""
    return values.round_().clamp_(-_LARGEST, _LARGEST)


def _bytes(rounded: Tensor) -> Tensor:
    """Return int8 as bytes about `_MIDDLE`; values are written over."""
    return rounded.bitwise_xor_(-_MIDDLE).view(torch.uint8)


@torch.no_grad()
def quantise(network: Esm2 | SixFrames) -> None:
    """Replace products and LayerNorms by those of 8 bit, and give the network the steps.

    Args:
        network: of fp32, on a CPU. One that reads six frames gets its mixing product in 8 bit too.
    """
    parts = (network.frames, network.windows) if isinstance(network, SixFrames) else (network,)
    seen = seen_in(network)
    for part in parts:
        quantiser = _Quantiser(seen, is_centred=part.is_whole)
        for block in part.blocks:
            pair_rows(cast("Esm2Block", block), part.config.heads)
            quantiser.replace(cast("Esm2Block", block))
        part.steps = Int8Steps(is_centred=part.is_whole)
    if isinstance(network, SixFrames):
        frames = network.frames
        norm, mix = _Quantiser(seen, is_centred=True).after_norm(frames.norm, network.mix)
        frames.add_module("norm", norm)
        network.add_module("mix", mix)


@torch.inference_mode()
def product_fault() -> str:
    """Return what is wrong with products of bytes on this CPU, empty if nothing.

    Without instructions for them (VNNI), or told by ONEDNN_MAX_CPU_ISA to use none, oneDNN adds two
    products in 16 bits, which are too few for the largest.
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
    """Makes the products and LayerNorms of 8 bit.

    Args:
        seen: in calibration.
        is_centred: whether the rows of the stream shall have a mean of 0.
    """

    def __init__(self, seen: Mapping[nn.Module, Seen], *, is_centred: bool) -> None:
        self._seen, self._is_centred = seen, is_centred

    def replace(self, block: Esm2Block) -> None:
        """Replace those of a block, whose rows are in pairs."""
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
        """Return a LayerNorm and the product behind it, which takes gain and bias.

        Args:
            norm: the LayerNorm.
            linear: the product, of rows that are one normalised row or several end to end.
            factors_N: what its columns are multiplied with.
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
