"""ESM-2's blocks stored in 8 or 4 bits and computed in 16.

Only the storage is quantised: before a block is computed, its weights are expanded into one block
of ordinary products that all blocks share, and any steps compute that one. The steps of 16 bit
leave an ESM-2's weights as they are (they change only DNABERT-S), so a network may be packed before
or after it is given its steps. The sharing allows one pass at a time: on a GPU one stream.

A weight is a whole number times a scale. 8 bit: one scale a row, so that its largest magnitude is
127 (the rows of Dettmers et al., arXiv:2208.07339). 4 bit: one scale for each group of columns of a
row, so that its largest magnitude, whichever sign it has, is -8 (llama.cpp's Q4_0), or a little
beyond, which rounds the others finer: what has the least squared error is taken.

Shape legend: N rows of a weight, K its columns, G groups of columns of a row (one group in 8 bit),
C columns of a group.
"""

from collections.abc import Callable, Iterable, Mapping
from math import gcd
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.esm2 import Esm2, Esm2Block, Esm2Config

#: The products of a block.
PRODUCTS = ("qkv", "out", "up", "down")
#: Most columns that share a scale in 4 bit.
_MOST_COLUMNS = 128
#: Rows of a weight that are rounded at a time, so that little is held beside it.
_BAND = 2048


class _Grid(NamedTuple):
    """What values are rounded to.

    Attributes:
        unit: the distance between two, in steps of an int8: a value of 4 bit is the upper half of
            a byte, so that one `&` or `<<` turns half a byte into the int8 that a scale is for.
        lowest: in units; what the largest magnitude becomes.
        highest: in units.
        shrinks: factors of the scale to choose from.
    """

    unit: int
    lowest: int
    highest: int
    shrinks: tuple[float, ...]


_GRIDS = {
    8: _Grid(1, -127, 127, (1.0,)),
    4: _Grid(16, -8, 7, (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)),
}


class PackedLinear(nn.Module):
    """The weight of a product in 8 or 4 bits.

    Args:
        linear: the product, with a bias; of any floating type.
        bits: 8 or 4; in 4, K must be even.

    Attributes:
        bits: of each value.
        weight_NK: 8 bit: int8. 4 bit: uint8 of K / 2 columns; of a group's bytes the lower halves
            are its first C / 2 columns, the upper halves the others.
        scales_NG: fp16, what an int8 is multiplied with; one of 4 bit is 16 times the value.
        bias_N: of the product's type.
    """

    weight_NK: Tensor
    scales_NG: Tensor
    bias_N: Tensor

    @torch.no_grad()
    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__()
        self.bits = bits
        columns = group_columns(linear.in_features, bits)
        bands = [_rounded(rows_MK, columns, bits) for rows_MK in linear.weight.split(_BAND)]
        weight_NK, scales_NG = (torch.cat(parts) for parts in zip(*bands, strict=True))
        self.register_buffer("weight_NK", weight_NK)
        self.register_buffer("scales_NG", scales_NG)
        self.register_buffer("bias_N", linear.bias.detach().clone())

    @torch.no_grad()
    def expand_into(self, linear: nn.Linear) -> None:
        """Write weight and bias over those of a product of the same shape.

        A weight is an int8 times a scale, rounded to fp16, on every device and in every type.
        """
        linear.bias.copy_(self.bias_N)
        if self.bits == 8:
            torch.mul(self.weight_NK, self.scales_NG, out=linear.weight)
            return
        groups = self.scales_NG.shape[1]
        halves_NGC = linear.weight.view(len(linear.weight), groups, 2, -1)
        bytes_NGC = self.weight_NK.unflatten(1, (groups, -1))
        scales_NG1 = self.scales_NG[..., None]
        torch.mul((bytes_NGC << 4).view(torch.int8), scales_NG1, out=halves_NGC[:, :, 0])
        torch.mul((bytes_NGC & 0xF0).view(torch.int8), scales_NG1, out=halves_NGC[:, :, 1])


class PackedBlock(nn.Module):
    """A block of an ESM-2 with packed products; norms and biases stay as they are.

    Args:
        block: what to pack.
        shared: an ordinary block of the same sizes, whose values are written over.
        bits: 8 or 4.
    """

    def __init__(self, block: Esm2Block, shared: Esm2Block, bits: int) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = block.attention_norm, block.feed_norm
        self.qkv = PackedLinear(block.qkv, bits)
        self.out = PackedLinear(block.out, bits)
        self.up = PackedLinear(block.up, bits)
        self.down = PackedLinear(block.down, bits)
        self.shared = shared

    def ready(self) -> Esm2Block:
        """Return the shared block, which is this one until another block is made ready."""
        shared = self.shared
        for name in PRODUCTS:
            packed = cast("PackedLinear", self.get_submodule(name))
            packed.expand_into(cast("nn.Linear", shared.get_submodule(name)))
        shared.attention_norm, shared.feed_norm = self.attention_norm, self.feed_norm
        return shared


def pack(network: Esm2, bits: int) -> None:
    """Pack the blocks of a network in place, one after the other; it is for inference then.

    Args:
        network: of the activations' type; one that is packed stays as it is.
        bits: 8 or 4.
    """
    if isinstance(network.blocks[0], PackedBlock):
        return
    shared = _shared_block(network)
    for index in range(len(network.blocks)):
        _pack_block(network, index, shared, bits)


def load_packed(
    read: Callable[[Iterable[str]], Mapping[str, Tensor]], config: Esm2Config, bits: int
) -> Esm2:
    """Build a packed network with never more than one block in its full size.

    Args:
        read: returns the tensors of the names it is given, those of `Esm2.state_dict`, in the
            activations' type and on the device to compute on. It is asked for what is outside the
            blocks, then for one block at a time.
        config: sizes of the network.
        bits: 8 or 4.

    Returns:
        the network, for inference.
    """
    with torch.device("meta"):
        network = Esm2(config)
    outside = [name for name in network.state_dict() if not name.startswith("blocks.")]
    network.load_state_dict(read(outside), strict=False, assign=True)
    shared = _shared_block(network)
    for index in range(config.layers):
        _load_block(network, index, read)
        _pack_block(network, index, shared, bits)
    return network.eval().requires_grad_(requires_grad=False)


def group_columns(columns: int, bits: int) -> int:
    """Return how many columns of a weight share a scale.

    Returns:
        all in 8 bit; in 4, 128 or the largest power of two below it that divides `columns`.
    """
    return columns if bits == 8 else gcd(columns, _MOST_COLUMNS)


def _shared_block(network: Esm2) -> Esm2Block:
    """Return a block whose values do not matter."""
    weight = network.embedding.weight
    with torch.device("meta"):
        block = Esm2Block(network.config).to(weight.dtype)
    return block.to_empty(device=weight.device).requires_grad_(requires_grad=False)


def _load_block(
    network: Esm2, index: int, read: Callable[[Iterable[str]], Mapping[str, Tensor]]
) -> None:
    prefix, block = f"blocks.{index}.", network.blocks[index]
    state = read([prefix + name for name in block.state_dict()])
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    block.load_state_dict(state, assign=True)


def _pack_block(network: Esm2, index: int, shared: Esm2Block, bits: int) -> None:
    block = cast("Esm2Block", network.blocks[index])
    network.blocks[index] = PackedBlock(block, shared, bits)


def _rounded(weight_NK: Tensor, columns: int, bits: int) -> tuple[Tensor, Tensor]:
    """Return `weight_NK` and `scales_NG` of a `PackedLinear`."""
    grid = _GRIDS[bits]
    values_NGC = weight_NK.float().unflatten(1, (-1, columns))
    scales_NG1 = _best_scales(values_NGC, grid)
    stored_NGC = (_on_grid(values_NGC, scales_NG1, grid) * grid.unit).to(torch.int8)
    if bits == 4:
        first, last = stored_NGC.view(torch.uint8).chunk(2, dim=2)
        stored_NGC = (first >> 4) | last
    return stored_NGC.flatten(1), scales_NG1[..., 0]


def _best_scales(values_NGC: Tensor, grid: _Grid) -> Tensor:
    """Return `scales_NG1`, those of the least squared error."""
    peaks_NG1 = values_NGC.gather(2, values_NGC.abs().argmax(dim=2, keepdim=True))
    widest_NG1 = peaks_NG1 / (grid.lowest * grid.unit)
    scales = [_away_from_zero(widest_NG1 * shrink) for shrink in grid.shrinks]
    if len(scales) == 1:
        return scales[0]
    errors = []
    for scales_NG1 in scales:
        found_NGC = _on_grid(values_NGC, scales_NG1, grid) * (scales_NG1.float() * grid.unit)
        errors.append((found_NGC - values_NGC).square_().sum(dim=2, keepdim=True))
    best_NG1 = torch.stack(errors).argmin(dim=0, keepdim=True)
    return torch.stack(scales).gather(0, best_NG1)[0]


def _on_grid(values_NGC: Tensor, scales_NG1: Tensor, grid: _Grid) -> Tensor:
    """Return the nearest whole numbers of units, fp32."""
    units_NGC = values_NGC / (scales_NG1.float() * grid.unit)
    return units_NGC.round_().clamp_(grid.lowest, grid.highest)


def _away_from_zero(scales: Tensor) -> Tensor:
    """Round to fp16, no magnitude to less than it is nor to zero: none is cut off by that."""
    least = 2.0**-24
    scales = torch.where(scales.abs() < least, least, scales)
    halves = scales.half()
    is_less = halves.float().abs() < scales.abs()
    return (halves.view(torch.int16) + is_less).view(torch.float16)
