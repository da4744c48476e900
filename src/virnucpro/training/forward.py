"""The networks of `encoders.six_frames` in training: fragments of one length side by side.

What they compute is the same, tokens are not packed. Frames stay where they are, as if they were
more heads: those of the reverse strand count positions downwards, which is all that attention knows
of an order. Attention on a GPU works in tiles of 64 tokens or more, so that fragments share one.
Between products PyTorch's compiler puts operations together, on a GPU.
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

#: Tokens of fragments that attention on a GPU looks at together.
_GROUP = 128
#: Added to scores of what is not to be seen; a tile of nothing else would turn infinity into NaN.
_UNSEEN = -1e4
_Result = TypeVar("_Result")


def hidden_states(
    encoder: SixFrames,
    words: Tensor,
    lengths_B: Tensor,
    table: Tensor,
    *,
    beside: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return hidden_BPD of the windows.

    Args:
        encoder: the network.
        words: of each window in each frame, shape (B, P, 6, CODONS).
        lengths_B: bases of each fragment.
        table: vectors of words, in the type to compute in.
        beside: added to the windows' vectors before they are read.
        dropout: share of what each half of a block adds that is left out.
    """
    vectors_BPFE = _sums(words, table)
    bias, together = _attended(windows_there(lengths_B, words.shape[1]), table)
    directions_F = torch.ones(6, device=words.device)
    directions_F[3:].neg_()
    read_BPFE = _transform(encoder.frames, vectors_BPFE, directions_F, bias, together, dropout)
    mixed_BPD = _product(read_BPFE.flatten(2), encoder.mix) + encoder.mix.bias.to(table.dtype)
    if beside is not None:
        mixed_BPD = mixed_BPD + beside.to(table.dtype)
    x_BP1D = mixed_BPD[:, :, None]
    return _transform(encoder.windows, x_BP1D, directions_F[:1], bias, together, dropout)[:, :, 0]


def windows_there(lengths_B: Tensor, most: int) -> Tensor:
    """Return which of the windows of each fragment hold bases of it, shape (B, most)."""
    return torch.arange(most, device=lengths_B.device) < -(-lengths_B // WINDOW)[:, None]


def _attended(is_there_BP: Tensor, like: Tensor) -> tuple[Tensor, int]:
    """Return what is added to scores, and how many fragments attention looks at together."""
    count, most = is_there_BP.shape
    together = max(1, _GROUP // most) if like.is_cuda else 1
    while count % together:
        together -= 1
    place = torch.arange(together * most, device=like.device) // most
    is_seen = (place[:, None] == place) & is_there_BP.reshape(-1, 1, together * most)
    bias = torch.zeros(is_seen.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill(~is_seen, _UNSEEN)[:, None], together


def _transform(
    network: Esm2,
    x_BPFD: Tensor,
    directions_F: Tensor,
    bias: Tensor,
    together: int,
    dropout: float,
) -> Tensor:
    """Return hidden states as `Esm2` computes them of packs."""
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
        parts = _fused(_turned, qkv, block.qkv.bias, cos, sin)
        q, k, v = (
            part.reshape(count // together, together * most, frames * heads, size).transpose(1, 2)
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
    """Multiply alone: what comes after adds the bias, and so its gradient costs no pass."""
    return functional.linear(x, linear.weight.to(x.dtype))


def _add(
    x: Tensor, added: Tensor, linear: nn.Linear, norm: nn.LayerNorm, dropout: float
) -> tuple[Tensor, Tensor]:
    return _fused(_add_norm, x, added, linear.bias, norm.weight, norm.bias, dropout)


# ---- what is put together


def _turned(qkv: Tensor, bias: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries and keys, rotated, and values, each shaped (B, P, F, H, A)."""
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
    """Return which codon is at each place, shape (B, P, 6, CODONS * 64), in the type of `like`."""
    # Words come by place on the forward strand, from the last place on the reverse one.
    ordered = torch.cat([words[..., :3, :], words[..., 3:, :].flip(-1)], dim=-2)
    firsts = 1 + 64 * torch.arange(CODONS, device=words.device)
    hot = (ordered - firsts)[..., None] == torch.arange(64, device=words.device)
    return hot.flatten(-2).to(like.dtype)


def _sums(words: Tensor, table: Tensor) -> Tensor:
    """Return the sum of the vectors of words: a product, whose gradient is one too."""
    return functional.linear(_fused(_one_hot, words, table), table[1:].T)


def _fused(function: Callable[..., _Result], *arguments: Any) -> _Result:  # noqa: ANN401
    """Call a function, compiled if its first argument is on a GPU and a compiler is found."""
    is_compiled = arguments[0].is_cuda and _compiles()
    return (_compiled(function) if is_compiled else function)(*arguments)


@cache
def _compiles() -> bool:
    """Return whether PyTorch's compiler works here: it needs Triton and a C compiler."""
    try:
        torch.compile(torch.neg)(torch.ones(2, device="cuda"))
    except Exception:  # noqa: BLE001 (whatever a compiler or a driver may raise)
        return False
    return True


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)
