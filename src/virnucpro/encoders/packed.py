"""Blocks that are stored in 8 or 4 bits and computed in 16.

Only the storage is quantised. Before a block is computed, its weights are expanded into one block
of ordinary products that all blocks share, and any steps can compute that one. A network may be
packed before or after it gets its steps, as long as these leave its weights as they are; the 16-bit
steps of ESM-2 do. Since blocks share memory, only one pass can run at a time: one stream on a GPU.

A weight is a whole number times a scale. In 8 bit there is one scale for each row, so that the
largest magnitude of the row is 127 (the rows of Dettmers et al., arXiv:2208.07339). In 4 bit there
is one scale for each group of columns of a row, so that the value of the largest magnitude becomes
-8 (llama.cpp's Q4_0). A slightly smaller scale cuts that value off and rounds the others more
precisely; of several scales, the one with the least squared error is used.

Shape legend: N rows of a weight, K its columns, G groups of columns of a row (one group in 8 bit),
C columns of a group.
"""

from collections.abc import Callable, Iterable, Mapping
from math import gcd
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.network import Block, Transformer

#: Reads the tensors with the given names.
Reader = Callable[[Iterable[str]], Mapping[str, Tensor]]
#: Largest number of columns that share a scale in 4 bit.
_MOST_COLUMNS = 128
#: Rows of a weight that are rounded at a time, to save memory.
_BAND = 2048


class _Grid(NamedTuple):
    """The values that weights are rounded to.

    Attributes:
        unit: distance of two neighbours, as int8. A 4-bit value is the upper half of a byte, so
            that one `&` or `<<` turns half a byte into the int8 that is multiplied by the scale.
        lowest: lowest value in units; the value of the largest magnitude becomes this.
        highest: highest value in units.
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
        bits: 8 or 4; in 4 bits, K must be even.

    Attributes:
        bits: bits of each value.
        weight_NK: int8 in 8 bit. In 4 bit, uint8 with K / 2 columns: the lower halves of a group's
            bytes hold its first C / 2 columns, the upper halves the others.
        scales_NG: factors of the int8 values, fp16; a 4-bit value is stored times 16, as int8.
        bias_N: bias, of the type of the product.
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
        """Overwrite weight and bias of a product of the same shape.

        A weight is an int8 times a scale, rounded to fp16 on every device and for every type.
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


class PackedBlock(Block):
    """A block with packed products; its norms and biases stay as they are.

    Args:
        block: the block to pack.
        shared: an ordinary block of the same sizes, whose values are overwritten.
        bits: 8 or 4.
    """

    def __init__(self, block: Block, shared: Block, bits: int) -> None:
        super().__init__()
        parts = dict(block.named_children())
        self._products = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
        self._others = [name for name in parts if name not in self._products]
        for name in self._others:
            self.add_module(name, parts[name])
        for name in self._products:
            self.add_module(name, PackedLinear(cast("nn.Linear", parts[name]), bits))
        self.shared = shared

    def ready(self) -> Any:  # noqa: ANN401 (a block of the network's own type)
        """Return the shared block, which equals this one until another block is made ready."""
        shared = self.shared
        for name in self._products:
            packed = cast("PackedLinear", self.get_submodule(name))
            packed.expand_into(cast("nn.Linear", shared.get_submodule(name)))
        for name in self._others:
            setattr(shared, name, self.get_submodule(name))
        return shared


def pack(network: Transformer, bits: int) -> None:
    """Pack the blocks of a network in place, one after the other; then it can only infer.

    Args:
        network: a network of the type of its activations; a packed one stays as it is.
        bits: 8 or 4.
    """
    if isinstance(network.blocks[0], PackedBlock):
        return
    shared = _shared_block(network)
    for index in range(len(network.blocks)):
        _pack_block(network, index, shared, bits)


def load_packed(network: Transformer, read: Reader, bits: int) -> None:
    """Load a network and pack it, with at most one block in full size at any time.

    Args:
        network: a network on the meta device; its weights are loaded in place.
        read: reads tensors by their names in the network's state, in the type of the activations
            and on the device that computes. The first call is for the tensors outside the blocks,
            each other call for one block.
        bits: 8 or 4.
    """
    outside = [name for name in network.state_dict() if not name.startswith("blocks.")]
    network.load_state_dict(read(outside), strict=False, assign=True)
    shared = _shared_block(network)
    for index in range(len(network.blocks)):
        _load_block(network, index, read)
        _pack_block(network, index, shared, bits)


def group_columns(columns: int, bits: int) -> int:
    """Return how many columns of a weight share a scale.

    Returns:
        in 8 bit all of them; in 4 bit the largest power of two up to 128 that divides `columns`.
    """
    return columns if bits == 8 else gcd(columns, _MOST_COLUMNS)


def _shared_block(network: Transformer) -> Block:
    """Return a block of arbitrary values."""
    weight = network.embedding.weight
    block_type: Any = type(network.blocks[0])
    with torch.device("meta"):
        block: Block = block_type(network.config).to(weight.dtype)
    return block.to_empty(device=weight.device).requires_grad_(requires_grad=False)


def _load_block(network: Transformer, index: int, read: Reader) -> None:
    prefix, block = f"blocks.{index}.", network.blocks[index]
    state = read([prefix + name for name in block.state_dict()])
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    block.load_state_dict(state, assign=True)


def _pack_block(network: Transformer, index: int, shared: Block, bits: int) -> None:
    network.blocks[index] = PackedBlock(cast("Block", network.blocks[index]), shared, bits)


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
    """Return `scales_NG1` with the least squared error."""
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
    """Round to fp16, never towards zero, so that the rounding cuts no value off."""
    least = 2.0**-24
    scales = torch.where(scales.abs() < least, least, scales)
    halves = scales.half()
    is_less = halves.float().abs() < scales.abs()
    return (halves.view(torch.int16) + is_less).view(torch.float16)
