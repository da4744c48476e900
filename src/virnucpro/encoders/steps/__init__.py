"""The steps of a transformer block, one module for each way of computing them.

A network says what is computed; the steps say how. `plain` uses PyTorch on any device, with
gradients. `cpu` computes in fp32 on a CPU, and `int8` adds 8-bit products to that. `fused` computes
in 16 bit with Triton kernels around the matrix products, and `fp8` adds 8-bit products to that.
`encoders.backends` imports `fused` and `fp8` only when needed, since Triton is not everywhere.
"""

from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from virnucpro.encoders.packing import Pack


class Rows(NamedTuple):
    """The input of a product.

    Attributes:
        values: one row for each token.
        scales_T1: factors of the rows, fp32, if the values have 8 bits.
    """

    values: Tensor
    scales_T1: Tensor | None = None


#: What attention needs to know of a pack; each way of computing has its own type.
Positions = TypeVar("Positions")


class Steps(Protocol[Positions]):
    """One way to compute a block."""

    def rotary(self, pack: Pack, size: int, hidden: Tensor) -> Positions:
        """Return what `attention` needs to rotate heads of `size` columns by their positions."""

    def alibi(self, pack: Pack, heads: int, hidden: Tensor) -> Positions:
        """Return what `attention` needs to bias scores by distance."""

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Let each token attend to its own sequence; E holds query, key and value."""

    def norm_queries_keys(
        self, qkv_TE: Tensor, query_norm: nn.LayerNorm, key_norm: nn.LayerNorm
    ) -> Tensor:
        """Return the fused rows with queries and keys normalised, each over all heads at once."""

    def norm(self, x_TD: Tensor, norm: nn.LayerNorm) -> Rows:
        """Return the LayerNorm of each row."""

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Return linear(rows)."""

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Return the exact GELU (with erf) of linear(rows)."""

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Return the GELU of the first half of each row of linear(rows) times the second half."""

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
        """Return means_SD in fp32, without `trim` tokens at both ends of each sequence."""


class GeluBlock(Protocol):
    """A block that 8-bit steps can compute: x + attention(norm(x)), then x + mlp(norm(x)).

    Its `mlp` is `down(GELU(up(x)))`.
    """

    attention_norm: nn.LayerNorm
    qkv: nn.Linear
    out: nn.Linear
    feed_norm: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Replace a part of the block."""
