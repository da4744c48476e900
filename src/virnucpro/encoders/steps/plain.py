"""The steps in plain PyTorch, for any device and floating type, with gradients.

Tests compare every fused kernel with them.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from virnucpro.encoders.packing import EqualLengthRun, Pack, mean_pool
from virnucpro.encoders.positions import alibi_bias, alibi_slopes, rotary_tables, rotate
from virnucpro.encoders.steps import Rows

#: The biases of a sequence grow with the square of its length. Above `_LONG` tokens, only those of
#: `_ROWS` rows are held at a time.
_LONG, _ROWS = 4096, 512


class Positions(NamedTuple):
    """What attention needs to know of a pack.

    Attributes:
        pack: the pack.
        rotary: cosines and sines of each token's angles, shape (T, 1, 1, A / 2).
        biases: what to add to the scores of each run, shape (H, L, L); None for a run of long
            sequences, which is computed some rows at a time.
        slopes_H: slopes of the biases.
        turns: complex factors that rotate the queries and keys at each position and scale the
            queries, shape (longest, D).
    """

    pack: Pack
    rotary: tuple[Tensor, Tensor] | None = None
    biases: tuple[Tensor | None, ...] | None = None
    slopes_H: Tensor | None = None
    turns: Tensor | None = None


class PlainSteps:
    """`Steps` in plain PyTorch; `Steps` says what each method does."""

    def rotary(self, pack: Pack, size: int, hidden: Tensor) -> Positions:
        """Compute the angles of every token."""
        return Positions(pack, rotary=rotary_tables(pack.positions_T, size, hidden.dtype))

    def alibi(self, pack: Pack, heads: int, hidden: Tensor) -> Positions:
        """Compute one bias for each length in the pack."""
        slopes_H = alibi_slopes(heads).to(hidden.device)
        biases = [
            alibi_bias(slopes_H, run.length).to(hidden.dtype) if run.length <= _LONG else None
            for run in pack.runs
        ]
        return Positions(pack, biases=tuple(biases), slopes_H=slopes_H)

    def attention(self, qkv_TE: Tensor, heads: int, positions: Positions) -> Rows:
        """Attend with FlashAttention if PyTorch has it for packs, else run by run."""
        qkv_T3HA = qkv_TE.unflatten(1, (3, heads, -1))
        if positions.rotary is not None:
            q_THA, k_THA = rotate(qkv_T3HA[:, :2], *positions.rotary).unbind(1)
            v_THA = qkv_T3HA[:, 2]
        else:
            q_THA, k_THA, v_THA = qkv_T3HA.unbind(1)
        pack = positions.pack
        if positions.biases is None and _has_flash_attention(qkv_TE):
            from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 (CUDA only)

            ends, longest = pack.cu_seqlens, pack.longest
            mixed_THA = varlen_attn(q_THA, k_THA, v_THA, ends, ends, longest, longest)
            return Rows(cast("Tensor", mixed_THA).flatten(1))
        return Rows(attend(q_THA, k_THA, v_THA, positions).flatten(1))

    def norm_queries_keys(
        self, qkv_TE: Tensor, query_norm: nn.LayerNorm, key_norm: nn.LayerNorm
    ) -> Tensor:
        """Normalise queries and keys."""
        q_TD, k_TD, v_TD = qkv_TE.chunk(3, dim=1)
        return torch.cat((query_norm(q_TD), key_norm(k_TD), v_TD), dim=1)

    def norm(self, x_TD: Tensor, norm: nn.LayerNorm) -> Rows:
        """Normalise."""
        return Rows(norm(x_TD))

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Multiply."""
        return cast("Tensor", linear(rows.values))

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply GELU."""
        return Rows(gelu(linear(rows.values)))

    def product_gated_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply GELU to the gate."""
        gate_TF, value_TF = linear(rows.values).chunk(2, dim=1)
        return Rows(gelu(gate_TF) * value_TF)

    def product_gated_silu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Multiply and apply SiLU to the gate."""
        gate_TF, value_TF = linear(rows.values).chunk(2, dim=1)
        return Rows(silu(gate_TF) * value_TF)

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Multiply, add, normalise."""
        x_TD = x_TD + linear(rows.values)
        return x_TD, Rows(norm(x_TD))

    def norm_of_sum(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> Tensor:
        """Multiply, add, normalise."""
        return cast("Tensor", norm(x_TD + linear(rows.values)))

    def mean_pool(self, hidden_TD: Tensor, pack: Pack, trim: int = 0) -> Tensor:
        """Average run by run."""
        return mean_pool(hidden_TD, pack, trim)


def _has_flash_attention(qkv_TE: Tensor) -> bool:
    """Return whether PyTorch can attend within a pack: 16 bit, compute capability 8.0 or newer."""
    if not qkv_TE.is_cuda or qkv_TE.dtype not in (torch.float16, torch.bfloat16):
        return False
    return torch.cuda.get_device_capability(qkv_TE.device) >= (8, 0)


def attend(q_THA: Tensor, k_THA: Tensor, v_THA: Tensor, positions: Positions) -> Tensor:
    """Attend run by run, which needs no padding; sorted packs have few runs."""
    pack, biases = positions.pack, positions.biases
    rest = len(q_THA) - pack.used
    runs = [*pack.runs, EqualLengthRun(1, rest)] if rest else pack.runs
    tokens = [run.tokens for run in runs]
    outputs = []
    parts = zip(q_THA.split(tokens), k_THA.split(tokens), v_THA.split(tokens), strict=True)
    for i, (run, part) in enumerate(zip(pack.runs, parts, strict=False)):
        q, k, v = (x.unflatten(0, (run.sequences, run.length)).transpose(1, 2) for x in part)
        bias = biases[i] if biases else None
        if biases and bias is None:
            out = _attend_by_rows(q, k, v, cast("Tensor", positions.slopes_H))
        else:
            mask = None if bias is None else bias[None]
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    if rest:
        outputs.append(torch.zeros_like(v_THA[pack.used :]))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attend_by_rows(q: Tensor, k: Tensor, v: Tensor, slopes_H: Tensor) -> Tensor:
    """Attend with biases, some rows at a time; the tensors have shape (N, H, L, A)."""
    length = q.shape[2]
    parts = []
    for start in range(0, length, _ROWS):
        rows = slice(start, start + _ROWS)
        bias = alibi_bias(slopes_H, length, rows).to(q.dtype)
        parts.append(scaled_dot_product_attention(q[:, :, rows], k, v, attn_mask=bias[None]))
    return torch.cat(parts, dim=2)
