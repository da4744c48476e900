"""The steps a transformer block is made of, once for each way of computing them.

The networks say what is computed; the steps say how: `plain` in PyTorch on any device and with
gradients, `cpu` in fp32 on a CPU, `int8` with products of 8 bit on top of that, `fused` in 16 bit
with Triton kernels around the matrix products, `fp8` with products of 8 bit on top of that. Imports
of `fused` and `fp8` are left to `encoders.precision`, since Triton is not everywhere.
"""

from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from virnucpro.encoders.packing import Pack


class Rows(NamedTuple):
    """What goes into a product.

    Attributes:
        values: one row a token.
        scales_T1: what each row of 8-bit values is to be multiplied with, fp32.
    """

    values: Tensor
    scales_T1: Tensor | None = None


#: What attention is told of a pack; each way of computing has its own.
Positions = TypeVar("Positions")


class Steps(Protocol[Positions]):
    """One way to compute a block."""

    def rotary(self, pack: Pack, size: int, hidden: Tensor) -> Positions:
        """Return what `attention` needs to rotate heads of `size` by their positions."""

    def alibi(self, pack: Pack, heads: int, hidden: Tensor) -> Positions:
        """Return what `attention` needs to bias scores by distance."""

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Let every token attend to those of its own sequence; E is query, key, value fused."""

    def norm_queries_keys(
        self, qkv_TE: Tensor, query_norm: nn.LayerNorm, key_norm: nn.LayerNorm
    ) -> Tensor:
        """Return the fused rows with queries and keys normalised, each over all heads at once."""

    def norm(self, x_TD: Tensor, norm: nn.LayerNorm) -> Rows:
        """Return the LayerNorm of each row."""

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Return linear(rows)."""

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Return GELU, the one with erf, of linear(rows)."""

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Return GELU of the first half of each row of linear(rows) times the second half."""

    def product_gated_silu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Return SiLU of the first half of each row of linear(rows) times the second half."""

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Return x + linear(rows), and its LayerNorm."""

    def norm_of_sum(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> Tensor:
        """Return the LayerNorm of x + linear(rows)."""

    def mean_pool(self, hidden_TD: Tensor, pack: Pack, trim: int = 0) -> Tensor:
        """Return means_SD in fp32, `trim` tokens left out at both ends of each sequence."""
