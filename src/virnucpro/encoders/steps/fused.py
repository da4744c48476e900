"""The steps in 16 bit on a GPU: Triton kernels for the matrix products, or only around them."""

from functools import cache
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from virnucpro.encoders.kernels import rows as row_kernels
from virnucpro.encoders.kernels.attention import TABLE_ROWS, Group, attention, group_runs
from virnucpro.encoders.kernels.products import Finish, paired_order, product
from virnucpro.encoders.network import Transformer
from virnucpro.encoders.packing import Pack
from virnucpro.encoders.positions import alibi_slopes, rotary_tables
from virnucpro.encoders.steps import Rows


class Positions(NamedTuple):
    """What the attention kernels need to know of a pack.

    Attributes:
        pack: the pack.
        groups: its sequences, grouped by tile.
        rotary: cosines and sines of each position, shape (L, A / 2).
        slopes_H: slopes of the linear bias, fp32.
    """

    pack: Pack
    groups: list[Group]
    rotary: tuple[Tensor, Tensor] | None = None
    slopes_H: Tensor | None = None


class FusedSteps:
    """`Steps` with the library's products and fused kernels around them."""

    def rotary(self, pack: Pack, size: int, hidden: Tensor) -> Positions:
        """Compute the angles of each position once."""
        rows = -(-pack.longest // TABLE_ROWS) * TABLE_ROWS
        dtype = torch.float16 if hidden.dtype == torch.float16 else torch.float32
        tables = rotary_tables(torch.arange(rows, device=hidden.device), size, dtype)
        cos, sin = (table[:, 0, 0].contiguous() for table in tables)
        return Positions(pack, group_runs(pack.runs), rotary=(cos, sin))

    def alibi(self, pack: Pack, heads: int, hidden: Tensor) -> Positions:
        """Compute the slope of each head."""
        return Positions(pack, group_runs(pack.runs), slopes_H=_slopes(heads, hidden.device))

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Attend with the kernels."""
        return Rows(self._attention(qkv_TE, heads, positions, qkv_TE.dtype))

    def _attention(
        self,
        qkv_TE: Tensor,
        heads: int,
        positions: Positions,
        dtype: torch.dtype,
    ) -> Tensor:
        pack, groups, rotary, slopes_H = positions
        out_TD = qkv_TE.new_empty(len(qkv_TE), qkv_TE.shape[1] // 3, dtype=dtype)
        out_TD.view(torch.uint8)[pack.used :].zero_()
        attention(
            qkv_TE, out_TD, pack.cu_seqlens, groups, heads,
            rotary=rotary, slopes_H=slopes_H,
        )  # fmt: skip
        return out_TD

    def norm_queries_keys(
        self, qkv_TE: Tensor, query_norm: nn.LayerNorm, key_norm: nn.LayerNorm
    ) -> Tensor:
        """Normalise queries and keys in one pass; `qkv_TE` is overwritten."""
        row_kernels.query_key_norm(qkv_TE, query_norm.weight, key_norm.weight, query_norm.eps)
        return qkv_TE

    def norm(self, x_TD: Tensor, norm: nn.LayerNorm) -> Rows:
        """Normalise in one pass."""
        return Rows(_norm(x_TD, norm))

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Multiply."""
        return cast("Tensor", linear(rows.values))

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, then apply GELU in one pass."""
        return Rows(row_kernels.gelu(linear(rows.values)))

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, then apply GELU to the gate in one pass."""
        return Rows(row_kernels.gelu(linear(rows.values), gated=True))

    def product_gated_silu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply, then apply SiLU to the gate in one pass."""
        return Rows(row_kernels.gated_silu(linear(rows.values)))

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Multiply, then add and normalise in one pass; `x_TD` is overwritten."""
        return x_TD, Rows(_norm(x_TD, norm, delta_TD=linear(rows.values)))

    def norm_of_sum(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> Tensor:
        """Multiply, then add and normalise in one pass; `x_TD` is overwritten."""
        return _norm(x_TD, norm, delta_TD=linear(rows.values))

    def mean_pool(self, hidden_TD: Tensor, pack: Pack, trim: int = 0) -> Tensor:
        """Average in one pass."""
        return row_kernels.mean_pool(hidden_TD, pack.cu_seqlens, trim)


class FusedProductSteps(FusedSteps):
    """`Steps` whose products apply bias, GELU and residual sum themselves.

    The weight of a gated product needs `interleave` first.
    """

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Multiply."""
        return _product(rows.values, cast("nn.Linear", linear))

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply GELU at once."""
        return Rows(_product(rows.values, cast("nn.Linear", linear), Finish.GELU))

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply GELU to the gate at once."""
        return Rows(_product(rows.values, cast("nn.Linear", linear), Finish.GATED_GELU))

    def product_gated_silu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply SiLU to the gate at once."""
        return Rows(_product(rows.values, cast("nn.Linear", linear), Finish.GATED_SILU))

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Multiply and add at once, then normalise; `x_TD` is overwritten."""
        _product(rows.values, cast("nn.Linear", linear), Finish.RESIDUAL, x_TD)
        return x_TD, Rows(_norm(x_TD, norm))

    def norm_of_sum(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> Tensor:
        """Multiply and add at once, then normalise; `x_TD` is overwritten."""
        _product(rows.values, cast("nn.Linear", linear), Finish.RESIDUAL, x_TD)
        return _norm(x_TD, norm)


@cache
def _slopes(heads: int, device: torch.device) -> Tensor:
    """Return the slopes, cached so that packs need not wait for them."""
    return alibi_slopes(heads).to(device)


def _norm(x_TD: Tensor, norm: nn.LayerNorm, delta_TD: Tensor | None = None) -> Tensor:
    out_TD = torch.empty_like(x_TD)
    row_kernels.layer_norm(x_TD, norm.weight, norm.bias, norm.eps, out_TD, delta_TD=delta_TD)
    return out_TD


def _product(
    rows_TK: Tensor, linear: nn.Linear, finish: Finish = Finish.PLAIN, out_TN: Tensor | None = None
) -> Tensor:
    if out_TN is None:
        columns = len(linear.weight) // (2 if finish.is_gated else 1)
        out_TN = rows_TK.new_empty(len(rows_TK), columns)
    product(rows_TK, linear.weight, out_TN, bias_N=linear.bias, finish=finish)
    return out_TN


def use_kernels(network: Transformer) -> None:
    """Give a network in 16 bit the kernels around the library's products."""
    network.steps = FusedSteps()


def use_products(network: Transformer, gated: str | None = None) -> None:
    """Give a network in 16 bit the products that apply bias, GELU and residual sum themselves.

    Args:
        network: the network.
        gated: name of the gated product of each block, if there is one.
    """
    if gated is not None:
        for block in network.blocks:
            interleave(cast("nn.Linear", block.get_submodule(gated)))
    network.steps = FusedProductSteps()


def interleave(linear: nn.Linear) -> None:
    """Put gate and value of a gated product side by side, as `FusedProductSteps` needs them."""
    for name in ("weight", "bias"):
        parameter = getattr(linear, name)
        if parameter is not None:
            gate, value = parameter.data.chunk(2)
            order = paired_order(len(gate)).to(gate.device)
            mixed = torch.stack((gate[order], value[order]), dim=1).flatten(0, 1)
            setattr(linear, name, nn.Parameter(mixed, requires_grad=False))
