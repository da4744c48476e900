"""The steps in fp32 on a CPU, without gradients: fewer passes over the activations.

Query and key rows are put into pairs at load, so that rotating is one product of complex numbers;
oneDNN applies GELU as it writes a product, bias and residual sum go into the product's target.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as multiply

from virnucpro.encoders.esm2 import Esm2Block
from virnucpro.encoders.packing import Pack
from virnucpro.encoders.positions import rotary_tables
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.steps.plain import PlainSteps, Positions, attend


class CpuSteps(PlainSteps):
    """`Steps` of fp32 on a CPU; an ESM-2's blocks must have gone through `pair_rows`."""

    def rotary(self, pack: Pack, size: int, hidden: Tensor) -> Positions:
        """Compute one complex number for each pair of every query and key."""
        cos, sin = (x[:, 0, 0] for x in rotary_tables(pack.positions_T, size, torch.float32))
        turns = torch.complex(cos, sin).repeat(1, 2 * hidden.shape[1] // size)
        return Positions(pack, turns=turns)

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Rotate where the values are, then attend by runs."""
        if positions.turns is not None:
            queries_and_keys = qkv_TE[:, : 2 * positions.turns.shape[1]].unflatten(1, (-1, 2))
            torch.view_as_complex(queries_and_keys).mul_(positions.turns)
        q_THA, k_THA, v_THA = qkv_TE.unflatten(1, (3, heads, -1)).unbind(1)
        return Rows(attend(q_THA, k_THA, v_THA, positions).flatten(1))

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply GELU at once."""
        linear = cast("nn.Linear", linear)
        return Rows(_gelu_product(rows.values, linear.weight, linear.bias))

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply GELU to the gate at once."""
        gate, value = cast("nn.Linear", linear).weight.chunk(2)
        return Rows(_gelu_product(rows.values, gate, None).mul_(multiply(rows.values, value)))

    def add_norm(
        self,
        x_TD: Tensor,
        rows: Rows,
        linear: nn.Module,
        norm: nn.LayerNorm,
        *,
        last: bool = False,  # noqa: ARG002
    ) -> tuple[Tensor, Rows]:
        """Multiply into the stream, then normalise; `x_TD` is written over."""
        x_TD = _add_product(x_TD, rows, cast("nn.Linear", linear))
        return x_TD, Rows(norm(x_TD))

    def norm_of_sum(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> Tensor:
        """Multiply into the stream, then normalise; `x_TD` is written over."""
        return cast("Tensor", norm(_add_product(x_TD, rows, cast("nn.Linear", linear))))


def pair_rows(block: Esm2Block, heads: int) -> None:
    """Put row i + A / 2 of each query's and key's head behind row i."""
    width = len(block.out.weight)
    order = torch.arange(2 * width).view(2 * heads, 2, -1).transpose(1, 2).flatten()
    order = torch.cat([order, torch.arange(2 * width, 3 * width)])
    for name in ("weight", "bias"):
        ordered = block.qkv.get_parameter(name).detach()[order]
        setattr(block.qkv, name, nn.Parameter(ordered, requires_grad=False))


def _gelu_product(rows_TK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
    fused = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 (what PyTorch's compiler calls)
    return cast("Tensor", fused(rows_TK, weight_NK, bias_N, "gelu", [], "none"))


def _add_product(x_TD: Tensor, rows: Rows, linear: nn.Linear) -> Tensor:
    return x_TD.add_(linear.bias).addmm_(rows.values, linear.weight.t())
