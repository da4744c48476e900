"""The steps in fp32 on a CPU, without gradients: fewer passes over the activations.

Query and key rows are put into pairs at load, so that rotating is one product of complex numbers;
short sequences attend in two batched products; GELU is applied where a product lies, bias and
residual sum go into the product's target. With `packing.LEAST_ROWS` rows or more, what a row gives
depends neither on their number nor on its place. Hence oneDNN's product with GELU is not used: its
kernels change with the number of rows, and round otherwise.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as multiply
from torch.nn.functional import scaled_dot_product_attention

from virnucpro.encoders.esm2 import Esm2Block
from virnucpro.encoders.packing import Pack
from virnucpro.encoders.positions import rotary_tables
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.steps.plain import PlainSteps, Positions, attend

#: Most tokens of a sequence whose attention weights are held, which grow with the square.
LONGEST_WEIGHTS = 256
gelu_, silu_ = torch.ops.aten.gelu_, torch.ops.aten.silu_


class CpuSteps(PlainSteps):
    """`Steps` of fp32 on a CPU; an ESM-2's blocks must have gone through `pair_rows`."""

    def rotary(self, pack: Pack, size: int, hidden: Tensor) -> Positions:
        """Compute one complex number for each pair of every query and key at each position."""
        positions = torch.arange(pack.longest)
        cos, sin = (x[:, 0, 0] for x in rotary_tables(positions, size, torch.float32))
        turns = torch.complex(cos, sin).repeat(1, hidden.shape[1] // size)
        return Positions(pack, turns=torch.cat([turns * size**-0.5, turns], dim=1))

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Rotate where the values are, then attend by runs."""
        if positions.turns is None:
            q_THA, k_THA, v_THA = qkv_TE.unflatten(1, (3, heads, -1)).unbind(1)
            return Rows(attend(q_THA, k_THA, v_THA, positions).flatten(1))
        return Rows(self._attend(qkv_TE, heads, positions.pack, positions.turns, qkv_TE.dtype))

    def _attend(
        self, qkv_TE: Tensor, heads: int, pack: Pack, turns: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Return what is mixed, in a type; zeros for what fills the pack."""
        mixed_TD = qkv_TE.new_empty(len(qkv_TE), qkv_TE.shape[1] // 3, dtype=dtype)
        mixed_TD[pack.used :] = 0
        tokens = [run.tokens for run in pack.runs]
        parts = (x[: pack.used].split(tokens) for x in (qkv_TE, mixed_TD))
        for run, qkv_RE, mixed_RD in zip(pack.runs, *parts, strict=True):
            qkv_NLE = qkv_RE.unflatten(0, run)
            queries_and_keys = qkv_NLE[..., : 2 * mixed_TD.shape[1]].unflatten(2, (-1, 2))
            torch.view_as_complex(queries_and_keys).mul_(turns[: run.length])
            q, k, v = qkv_NLE.unflatten(2, (3, heads, -1)).permute(2, 3, 0, 1, 4)
            mixed = self._mix(q, k, v).permute(1, 2, 0, 3)
            mixed_RD.view(mixed.shape).copy_(mixed)
        return mixed_TD

    def _mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in sequences of one length, shape (H, N, L, A); `q` comes scaled."""
        if q.shape[2] > LONGEST_WEIGHTS:
            return scaled_dot_product_attention(q, k, v, scale=1.0)
        return products_by_heads(torch.softmax(products_by_heads(q, k.transpose(2, 3)), 3), v)

    def norm_queries_keys(
        self, qkv_TE: Tensor, query_norm: nn.LayerNorm, key_norm: nn.LayerNorm
    ) -> Tensor:
        """Normalise where queries and keys are."""
        for rows_TD, norm in zip(qkv_TE.chunk(3, dim=1), (query_norm, key_norm), strict=False):
            rows_TD.copy_(norm(rows_TD))
        return qkv_TE

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, then apply GELU where the product lies."""
        linear = cast("nn.Linear", linear)
        return Rows(gelu_(multiply(rows.values, linear.weight, linear.bias)))

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, and apply GELU to the gate where it lies."""
        gate, value = cast("nn.Linear", linear).weight.chunk(2)
        return Rows(gelu_(multiply(rows.values, gate)).mul_(multiply(rows.values, value)))

    def product_gated_silu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, and apply SiLU to the gate where it lies."""
        gate, value = cast("nn.Linear", linear).weight.chunk(2)
        return Rows(silu_(multiply(rows.values, gate)).mul_(multiply(rows.values, value)))

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Multiply into the stream, then normalise; `x_TD` is written over."""
        x_TD = _add_product(x_TD, rows, cast("nn.Linear", linear))
        return x_TD, Rows(norm(x_TD))

    def norm_of_sum(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> Tensor:
        """Multiply into the stream, then normalise; `x_TD` is written over."""
        return cast("Tensor", norm(_add_product(x_TD, rows, cast("nn.Linear", linear))))


def products_by_heads(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right, shapes (H, N, ...); rows may lie apart, since a head is one batch."""
    out = left.new_empty(*left.shape[:3], right.shape[3])
    for left_NLX, right_NXY, out_NLY in zip(left, right, out, strict=True):
        torch.bmm(left_NLX, right_NXY, out=out_NLY)
    return out


def pair_rows(block: Esm2Block, heads: int) -> None:
    """Put row i + A / 2 of each query's and key's head behind row i."""
    width = len(block.out.weight)
    order = torch.arange(2 * width).view(2 * heads, 2, -1).transpose(1, 2).flatten()
    order = torch.cat([order, torch.arange(2 * width, 3 * width)])
    for name in ("weight", "bias"):
        ordered = block.qkv.get_parameter(name).detach()[order]
        setattr(block.qkv, name, nn.Parameter(ordered, requires_grad=False))


def _add_product(x_TD: Tensor, rows: Rows, linear: nn.Linear) -> Tensor:
    if linear.bias is not None:
        x_TD.add_(linear.bias)
    return x_TD.addmm_(rows.values, linear.weight.t())
