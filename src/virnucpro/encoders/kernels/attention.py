"""Attention within each sequence of a pack, computed directly from the fused product.

The kernels also rotate queries and keys, or bias scores by distance. They read only the fused
product and write only the result. The kernel and the tiles of a sequence depend on its own length
alone, so its result does not depend on its pack.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from virnucpro.encoders.packing import EqualLengthRun

#: Multiplies logarithms to base e into logarithms to base 2.
_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _load_rows(base, rows, length, stride, WIDTH: tl.constexpr):
    """Return WIDTH columns of rows of one sequence, with zeros behind its end."""
    at = base + rows[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    return tl.load(at, mask=rows[:, None] < length, other=0.0)


@triton.jit
def _load_angles(cos_ptr, sin_ptr, rows, HALF: tl.constexpr, ROTARY: tl.constexpr):
    """Return cosines and sines of the rows' angles; the tables cover whole tiles."""
    if ROTARY:
        at = rows[:, None] * HALF + tl.arange(0, HALF)[None, :]
        cos, sin = tl.load(cos_ptr + at), tl.load(sin_ptr + at)
    else:
        cos, sin = 1.0, 0.0
    return cos, sin


@triton.jit
def _load_halves(base, rows, length, stride, cos, sin, HALF: tl.constexpr, ROTARY: tl.constexpr):
    """Return both halves of each row's head, rotated in fp16 for fp16, in fp32 for bf16."""
    low = _load_rows(base, rows, length, stride, HALF)
    high = _load_rows(base + HALF, rows, length, stride, HALF)
    if ROTARY:
        turned_low = low * cos - high * sin
        turned_high = high * cos + low * sin
        low, high = turned_low.to(low.dtype), turned_high.to(low.dtype)
    return low, high


@triton.jit
def _scores(
    q_low, q_high, k_low, k_high, q_rows, k_rows, length, factor, slope, ALIBI: tl.constexpr
):
    """Return the scores of a tile of queries and keys, with -inf behind the end of the sequence.

    With a bias, the scores are final. Without one, the exponential applies `factor`.
    """
    scores = tl.dot(q_low, tl.trans(k_low))
    scores = tl.dot(q_high, tl.trans(k_high), scores)
    if ALIBI:
        distance = tl.abs(q_rows[:, None] - k_rows[None, :]).to(tl.float32)
        scores = scores * factor - slope * distance
    return tl.where(k_rows[None, :] < length, scores, float("-inf"))


@triton.jit
def _short_kernel(
    qkv_ptr, out_ptr, offsets_ptr, cos_ptr, sin_ptr, slopes_ptr, first, heads, factor,
    HALF: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, MORE_KEYS: tl.constexpr,
    ROTARY: tl.constexpr, ALIBI: tl.constexpr,
):  # fmt: skip
    """Compute one head of one sequence of at most KEYS + MORE_KEYS tokens; load its keys once."""
    head = tl.program_id(0) % heads
    sequence = first + tl.program_id(0) // heads
    start = tl.load(offsets_ptr + sequence).to(tl.int64)
    length = tl.load(offsets_ptr + sequence + 1) - start.to(tl.int32)
    SIZE: tl.constexpr = 2 * HALF
    width = heads * SIZE
    stride = 3 * width
    q_base = qkv_ptr + start * stride + head * SIZE
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes_ptr + head)
    k_rows = tl.arange(0, KEYS)
    k_cos, k_sin = _load_angles(cos_ptr, sin_ptr, k_rows, HALF, ROTARY)
    k_low, k_high = _load_halves(q_base + width, k_rows, length, stride, k_cos, k_sin, HALF, ROTARY)
    v = _load_rows(q_base + 2 * width, k_rows, length, stride, SIZE)
    if MORE_KEYS:
        m_rows = KEYS + tl.arange(0, MORE_KEYS)
        m_cos, m_sin = _load_angles(cos_ptr, sin_ptr, m_rows, HALF, ROTARY)
        m_low, m_high = _load_halves(
            q_base + width, m_rows, length, stride, m_cos, m_sin, HALF, ROTARY
        )
        m_v = _load_rows(q_base + 2 * width, m_rows, length, stride, SIZE)
    columns = tl.arange(0, SIZE)
    exponent = _LOG2_E if ALIBI else factor * _LOG2_E
    for first_query in range(0, length, QUERIES):
        q_rows = first_query + tl.arange(0, QUERIES)
        if KEYS + MORE_KEYS == QUERIES:
            q_cos, q_sin = k_cos, k_sin
        else:
            q_cos, q_sin = _load_angles(cos_ptr, sin_ptr, q_rows, HALF, ROTARY)
        q_low, q_high = _load_halves(q_base, q_rows, length, stride, q_cos, q_sin, HALF, ROTARY)
        scores = _scores(q_low, q_high, k_low, k_high, q_rows, k_rows, length, factor, slope, ALIBI)
        largest = tl.max(scores, 1)
        if MORE_KEYS:
            m_scores = _scores(
                q_low, q_high, m_low, m_high, q_rows, m_rows, length, factor, slope, ALIBI
            )
            largest = tl.maximum(largest, tl.max(m_scores, 1))
        largest *= exponent
        weights = tl.exp2(scores * exponent - largest[:, None])
        total = tl.sum(weights, 1)
        mixed = tl.dot(weights.to(v.dtype), v)
        if MORE_KEYS:
            m_weights = tl.exp2(m_scores * exponent - largest[:, None])
            total += tl.sum(m_weights, 1)
            mixed = tl.dot(m_weights.to(v.dtype), m_v, mixed)
        mixed *= (1.0 / total)[:, None]
        at = (start + q_rows[:, None]) * width + head * SIZE + columns[None, :]
        tl.store(out_ptr + at, mixed.to(out_ptr.dtype.element_ty), mask=q_rows[:, None] < length)


@triton.jit
def _long_kernel(
    qkv_ptr, out_ptr, offsets_ptr, cos_ptr, sin_ptr, slopes_ptr, first, heads, factor,
    HALF: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    ROTARY: tl.constexpr, ALIBI: tl.constexpr,
):  # fmt: skip
    """Compute a tile of queries of one head of one sequence, with a running softmax over its keys.

    Source: Dao, FlashAttention-2 (2023), algorithm 1.
    """
    head = tl.program_id(0) % heads
    sequence = first + tl.program_id(0) // heads
    start = tl.load(offsets_ptr + sequence).to(tl.int64)
    length = tl.load(offsets_ptr + sequence + 1) - start.to(tl.int32)
    first_query = tl.program_id(1) * QUERIES
    if first_query >= length:
        return
    SIZE: tl.constexpr = 2 * HALF
    width = heads * SIZE
    stride = 3 * width
    q_base = qkv_ptr + start * stride + head * SIZE
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes_ptr + head)
    q_rows = first_query + tl.arange(0, QUERIES)
    q_cos, q_sin = _load_angles(cos_ptr, sin_ptr, q_rows, HALF, ROTARY)
    q_low, q_high = _load_halves(q_base, q_rows, length, stride, q_cos, q_sin, HALF, ROTARY)
    exponent = _LOG2_E if ALIBI else factor * _LOG2_E
    largest = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, SIZE], tl.float32)
    for first_key in range(0, length, KEYS):
        k_rows = first_key + tl.arange(0, KEYS)
        k_cos, k_sin = _load_angles(cos_ptr, sin_ptr, k_rows, HALF, ROTARY)
        k_low, k_high = _load_halves(
            q_base + width, k_rows, length, stride, k_cos, k_sin, HALF, ROTARY
        )
        v = _load_rows(q_base + 2 * width, k_rows, length, stride, SIZE)
        scores = _scores(q_low, q_high, k_low, k_high, q_rows, k_rows, length, factor, slope, ALIBI)
        larger = tl.maximum(largest, tl.max(scores, 1) * exponent)
        weights = tl.exp2(scores * exponent - larger[:, None])
        shrink = tl.exp2(largest - larger)
        total = total * shrink + tl.sum(weights, 1)
        mixed = tl.dot(weights.to(v.dtype), v, mixed * shrink[:, None])
        largest = larger
    mixed *= (1.0 / total)[:, None]
    at = (start + q_rows[:, None]) * width + head * SIZE + tl.arange(0, SIZE)[None, :]
    tl.store(out_ptr + at, mixed.to(out_ptr.dtype.element_ty), mask=q_rows[:, None] < length)


class Tile(NamedTuple):
    """The tiles of sequences of up to `longest` tokens.

    Attributes:
        longest: longest sequence, in tokens.
        queries: rows of a tile of queries.
        keys: rows of the first tile of keys.
        more_keys: rows of the second tile of keys, or 0 if one tile is enough.
        warps: warps of a program.
        registers: largest number of registers of a thread, so that more programs run at once; 0
            for no limit. Heads of more than `_BOUNDED_SIZE` columns have no limit.
    """

    longest: int
    queries: int
    keys: int
    more_keys: int
    warps: int
    registers: int


#: Tables of angles hold a multiple of this many positions, so that tiles need no bounds check.
TABLE_ROWS = 256
#: Measured on an H100 (docs/log.md).
_TILES = (
    Tile(32, 32, 32, 0, 2, 0),
    Tile(64, 64, 64, 0, 4, 80),
    Tile(128, 64, 64, 64, 4, 128),
    Tile(192, 64, 128, 64, 4, 168),
    Tile(256, 64, 128, 128, 4, 168),
)
_BOUNDED_SIZE = 64
_LONG = Tile(1 << 30, 128, 64, 0, 8, 0)


class Group(NamedTuple):
    """Neighbouring sequences of a pack that have the same tiles.

    Attributes:
        tile: their tiles.
        first: index of the first sequence.
        sequences: number of sequences.
        longest: longest sequence, in tokens.
    """

    tile: Tile
    first: int
    sequences: int
    longest: int


def group_runs(runs: Iterable[EqualLengthRun]) -> list[Group]:
    """Group the sequences of a pack that have the same tiles."""
    groups, first = [], 0
    for tile, same in groupby(runs, key=lambda run: _tile_of(run.length)):
        members = list(same)
        sequences = sum(run.sequences for run in members)
        groups.append(Group(tile, first, sequences, max(run.length for run in members)))
        first += sequences
    return groups


def _tile_of(length: int) -> Tile:
    return next((tile for tile in _TILES if length <= tile.longest), _LONG)


def attention(
    qkv_TE: Tensor,
    out_TD: Tensor,
    offsets: Tensor,
    groups: list[Group],
    heads: int,
    *,
    rotary: tuple[Tensor, Tensor] | None = None,
    slopes_H: Tensor | None = None,
) -> None:
    """Write the attention of each sequence to `out_TD`.

    Args:
        qkv_TE: query, key and value of every head, fused and contiguous; heads have 32, 64 or 128
            columns.
        out_TD: result, in 16 bit or fp8.
        offsets: start of each sequence and end of the last one, int32.
        groups: groups of the sequences.
        heads: H.
        rotary: cosines and sines of each position, shape (L, A / 2). L is at least the length of
            the longest sequence, rounded up to `TABLE_ROWS`. They are fp16 for fp16, fp32 for bf16.
        slopes_H: slopes of the linear bias, fp32.
    """
    size = out_TD.shape[1] // heads
    cos, sin = rotary if rotary is not None else (qkv_TE, qkv_TE)
    slopes = slopes_H if slopes_H is not None else qkv_TE
    for group in groups:
        tile = group.tile
        arguments = (qkv_TE, out_TD, offsets, cos, sin, slopes, group.first, heads, size**-0.5)
        constants = {
            "HALF": size // 2, "QUERIES": tile.queries, "KEYS": tile.keys,
            "ROTARY": rotary is not None, "ALIBI": slopes_H is not None, "num_warps": tile.warps,
        }  # fmt: skip
        if tile.registers and size <= _BOUNDED_SIZE:
            constants["maxnreg"] = tile.registers
        programs = group.sequences * heads
        if tile is _LONG:
            grid = (programs, triton.cdiv(group.longest, tile.queries))
            _long_kernel[grid](*arguments, **constants, num_stages=3)
        else:
            _short_kernel[(programs,)](
                *arguments, **constants, MORE_KEYS=tile.more_keys, num_stages=1
            )
