"""The steps in fp32 on a CPU, without gradients: fewer passes over the activations.

The rows of queries and keys are paired when the network is loaded, so that a rotation is one
product of complex numbers. Short sequences attend in two batched products. GELU is applied in
place, and the bias and the residual sum are added in the target of a product. In packs of at least
`packing.LEAST_ROWS` rows, the result of a row depends neither on their number nor on its place.
That rules out oneDNN's product with GELU: its kernel, and so its rounding, changes with the number
of rows.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as multiply
from torch.nn.functional import scaled_dot_product_attention

from virnucpro.encoders.packing import Pack
from virnucpro.encoders.positions import rotary_tables
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.steps.plain import PlainSteps, Positions, attend

#: Longest sequence whose attention weights, which grow with the square, are held whole.
LONGEST_WEIGHTS = 256
gelu_, silu_ = torch.ops.aten.gelu_, torch.ops.aten.silu_


class CpuSteps(PlainSteps):
    """`Steps` of fp32 on a CPU; the queries and keys of a rotary network need `pair_rows` first."""

    def rotary(self, pack: Pack, size: int, hidden: Tensor) -> Positions:
        """Compute one complex factor for each pair of each query and key at each position."""
        positions = torch.arange(pack.longest)
        cos, sin = (x[:, 0, 0] for x in rotary_tables(positions, size, torch.float32))
        turns = torch.complex(cos, sin).repeat(1, hidden.shape[1] // size)
        return Positions(pack, turns=torch.cat([turns * size**-0.5, turns], dim=1))

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Rotate in place, then attend run by run."""
        if positions.turns is None:
            q_THA, k_THA, v_THA = qkv_TE.unflatten(1, (3, heads, -1)).unbind(1)
            return Rows(attend(q_THA, k_THA, v_THA, positions).flatten(1))
        return Rows(self._attend(qkv_TE, heads, positions.pack, positions.turns, qkv_TE.dtype))

    def _attend(
        self, qkv_TE: Tensor, heads: int, pack: Pack, turns: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Return the mixed values as `dtype`, with zeros for the padding of the pack."""
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
        """Attend in sequences of one length, shape (H, N, L, A); `q` is scaled already."""
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
        """Multiply, then apply GELU in place."""
        linear = cast("nn.Linear", linear)
        return Rows(gelu_(multiply(rows.values, linear.weight, linear.bias)))

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, and apply GELU to the gate in place."""
        gate, value = cast("nn.Linear", linear).weight.chunk(2)
        return Rows(gelu_(multiply(rows.values, gate)).mul_(multiply(rows.values, value)))

    def product_gated_silu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, and apply SiLU to the gate where it lies."""
        gate, value = cast("nn.Linear", linear).weight.chunk(2)
        return Rows(silu_(multiply(rows.values, gate)).mul_(multiply(rows.values, value)))

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Multiply into the stream, then normalise; `x_TD` is overwritten."""
        x_TD = _add_product(x_TD, rows, cast("nn.Linear", linear))
        return x_TD, Rows(norm(x_TD))

    def norm_of_sum(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> Tensor:
        """Multiply into the stream, then normalise; `x_TD` is overwritten."""
        return cast("Tensor", norm(_add_product(x_TD, rows, cast("nn.Linear", linear))))


def products_by_heads(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right, shapes (H, N, ...); rows need not be contiguous: a head is one batch."""
    out = left.new_empty(*left.shape[:3], right.shape[3])
    for left_NLX, right_NXY, out_NLY in zip(left, right, out, strict=True):
        torch.bmm(left_NLX, right_NXY, out=out_NLY)
    return out


def pair_rows(qkv: nn.Linear, heads: int) -> None:
    """Put row i + A / 2 of each head of queries and keys behind row i."""
    width = len(qkv.weight) // 3
    order = torch.arange(2 * width).view(2 * heads, 2, -1).transpose(1, 2).flatten()
    order = torch.cat([order, torch.arange(2 * width, 3 * width)])
    for name in ("weight", "bias"):
        parameter = getattr(qkv, name)
        if parameter is not None:
            setattr(qkv, name, nn.Parameter(parameter.detach()[order], requires_grad=False))


def _add_product(x_TD: Tensor, rows: Rows, linear: nn.Linear) -> Tensor:
    if linear.bias is not None:
        x_TD.add_(linear.bias)
    return x_TD.addmm_(rows.values, linear.weight.t())
