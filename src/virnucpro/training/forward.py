"""The forward pass of `encoders.six_frames` in training, on a batch of fragments of one length.

It computes the same as in prediction, but tokens are not packed. The six frames are treated as
further attention heads, without reordering: on the reverse strand, positions count downwards, and
attention knows the order only by positions. Attention on a GPU works in tiles of 64 tokens or more,
so several fragments share a tile. On a GPU, PyTorch's compiler fuses the operations between
matrix products.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from virnucpro.encoders import Esm2
from virnucpro.encoders.positions import rotary_tables, rotate
from virnucpro.encoders.six_frames import CODONS, WINDOW, SixFrames

if TYPE_CHECKING:
    from virnucpro.encoders.esm2 import Esm2Block

#: Number of tokens, of several fragments, that attention on a GPU processes together.
_GROUP = 128
#: Added to the scores of masked tokens; minus infinity would give NaN in a tile without others.
_MASKED = -1e4
_Result = TypeVar("_Result")


def hidden_states(
    encoder: SixFrames,
    words: Tensor,
    lengths_B: Tensor,
    table: Tensor,
    *,
    added_BPD: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return hidden_BPD of the windows.

    Args:
        encoder: the network.
        words: words of each window in each frame, shape (B, P, 6, CODONS).
        lengths_B: number of bases of each fragment.
        table: vectors of the words; their type is that of the computation.
        added_BPD: added to the vectors of the windows, before the network of windows.
        dropout: rate of dropout of the outputs of both halves of a block.
    """
    vectors_BPFE = _embed_words(words, table)
    bias, group = _attention_bias(windows_with_bases(lengths_B, words.shape[1]), table)
    directions_F = torch.ones(6, device=words.device)
    directions_F[3:].neg_()
    frames_BPFE = _transform(encoder.frames, vectors_BPFE, directions_F, bias, group, dropout)
    mixed_BPD = _product(frames_BPFE.flatten(2), encoder.mix) + encoder.mix.bias.to(table.dtype)
    if added_BPD is not None:
        mixed_BPD = mixed_BPD + added_BPD.to(table.dtype)
    x_BP1D = mixed_BPD[:, :, None]
    return _transform(encoder.windows, x_BP1D, directions_F[:1], bias, group, dropout)[:, :, 0]


def windows_with_bases(lengths_B: Tensor, most: int) -> Tensor:
    """Return which of the `most` windows of each fragment contain bases, shape (B, most)."""
    return torch.arange(most, device=lengths_B.device) < -(-lengths_B // WINDOW)[:, None]


def _attention_bias(has_bases_BP: Tensor, like: Tensor) -> tuple[Tensor, int]:
    """Return the bias of attention scores, and the number of fragments that share a group."""
    count, most = has_bases_BP.shape
    group = max(1, _GROUP // most) if like.is_cuda else 1
    while count % group:
        group -= 1
    fragment = torch.arange(group * most, device=like.device) // most
    is_visible = (fragment[:, None] == fragment) & has_bases_BP.reshape(-1, 1, group * most)
    bias = torch.zeros(is_visible.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill(~is_visible, _MASKED)[:, None], group


def _transform(
    network: Esm2,
    x_BPFD: Tensor,
    directions_F: Tensor,
    bias: Tensor,
    group: int,
    dropout: float,
) -> Tensor:
    """Return hidden states, as `Esm2` computes them from packs."""
    heads = network.config.heads
    count, most, frames, width = x_BPFD.shape
    size = width // heads
    places = torch.arange(most, device=x_BPFD.device)
    cos, sin = rotary_tables(places, size, x_BPFD.dtype)
    sin = sin * directions_F.to(sin.dtype)[:, None, None]
    blocks = [cast("Esm2Block", block) for block in network.blocks]
    norms = [*(block.attention_norm for block in blocks[1:]), network.norm]
    normed = _fused(_norm, x_BPFD, blocks[0].attention_norm.weight, blocks[0].attention_norm.bias)
    for block, next_norm in zip(blocks, norms, strict=True):
        qkv = _product(normed, block.qkv)
        parts = _fused(_rotated_qkv, qkv, block.qkv.bias, cos, sin)
        q, k, v = (
            part.reshape(count // group, group * most, frames * heads, size).transpose(1, 2)
            for part in parts
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        added = _product(mixed.transpose(1, 2).reshape(x_BPFD.shape), block.out)
        x_BPFD, normed = _add(x_BPFD, added, block.out, block.feed_norm, dropout)
        inner = _fused(_gelu, _product(normed, block.up), block.up.bias)
        added = _product(inner, block.down)
        x_BPFD, normed = _add(x_BPFD, added, block.down, next_norm, dropout)
    return normed


def _product(x: Tensor, linear: nn.Linear) -> Tensor:
    """Multiply without the bias: a fused operation adds it, so its gradient needs no extra pass."""
    return functional.linear(x, linear.weight.to(x.dtype))


def _add(
    x: Tensor, added: Tensor, linear: nn.Linear, norm: nn.LayerNorm, dropout: float
) -> tuple[Tensor, Tensor]:
    return _fused(_add_norm, x, added, linear.bias, norm.weight, norm.bias, dropout)


# ---- operations that are fused


def _rotated_qkv(
    qkv: Tensor, bias: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rotated queries and keys, and values, each of the shape (B, P, F, H, A)."""
    size = 2 * cos.shape[-1]
    q, k, v = (qkv + bias.to(qkv.dtype)).unflatten(-1, (3, -1, size)).unbind(3)
    return rotate(q, cos, sin), rotate(k, cos, sin), v.contiguous()


def _gelu(x: Tensor, bias: Tensor) -> Tensor:
    return functional.gelu(x + bias.to(x.dtype))


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weight.to(x.dtype), bias.to(x.dtype))


def _add_norm(
    x: Tensor, added: Tensor, added_bias: Tensor, weight: Tensor, bias: Tensor, dropout: float
) -> tuple[Tensor, Tensor]:
    added = added + added_bias.to(x.dtype)
    x = x + (functional.dropout(added, dropout) if dropout else added)
    return x, _norm(x, weight, bias)


def _one_hot(words: Tensor, like: Tensor) -> Tensor:
    """Return the codon at each place, one-hot, (B, P, 6, CODONS * 64), in the type of `like`."""
    # Words are ordered by place on the forward strand, and backwards on the reverse strand.
    ordered = torch.cat([words[..., :3, :], words[..., 3:, :].flip(-1)], dim=-2)
    firsts = 1 + 64 * torch.arange(CODONS, device=words.device)
    hot = (ordered - firsts)[..., None] == torch.arange(64, device=words.device)
    return hot.flatten(-2).to(like.dtype)


def _embed_words(words: Tensor, table: Tensor) -> Tensor:
    """Return the sums of the vectors of words as a matrix product; so is its gradient."""
    return functional.linear(_fused(_one_hot, words, table), table[1:].T)


def _fused(function: Callable[..., _Result], *arguments: Any) -> _Result:  # noqa: ANN401
    """Call a function; it is compiled if the arguments are on a GPU and a compiler works."""
    is_compiled = arguments[0].is_cuda and _compiles()
    return (_compiled(function) if is_compiled else function)(*arguments)


@cache
def _compiles() -> bool:
    """Return whether PyTorch's compiler works here; it needs Triton and a C compiler."""
    try:
        torch.compile(torch.neg)(torch.ones(2, device="cuda"))
    except Exception:  # noqa: BLE001 (a compiler or a driver may raise anything)
        return False
    return True


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)
