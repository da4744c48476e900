"""Triton's attention against plain PyTorch, on a GPU or in the interpreter."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from conftest import relative_error
from kernel_outputs import BF16, FP8, FP16, FP32, amid_nan, output, random
from virnucpro.encoders.packing import EqualLengthRun
from virnucpro.encoders.positions import alibi_bias, alibi_slopes, rotary_tables, rotate

pytest.importorskip("triton")
from virnucpro.encoders.kernels.attention import TABLE_ROWS, attention, group_runs

#: The interpreter computes with NumPy, which warns of infinities; a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

#: Both sides of every border of the tiles, in no order, some alike.
LENGTHS = (64, 1, 300, 33, 33, 127, 255, 2, 192, 31, 32, 63, 65, 257, 128, 129, 191, 193, 256, 1)
SIZES = [32, 64, 128] if torch.cuda.is_available() else [32, 64]


def twin_attention(
    qkv_TE: Tensor, heads: int, lengths: tuple[int, ...], kind: str, slopes_H: Tensor
) -> Tensor:
    """Attend in fp64, sequence by sequence."""
    outputs = []
    for part in qkv_TE[: sum(lengths)].double().split(list(lengths)):
        qkv_L3HA = part.unflatten(1, (3, heads, -1))
        bias = None
        if kind == "rotary":
            places = torch.arange(len(part), device=part.device)
            tables = rotary_tables(places, qkv_L3HA.shape[-1], FP32)
            qk = rotate(qkv_L3HA[:, :2], *tables)
            qkv_L3HA = torch.cat((qk, qkv_L3HA[:, 2:]), dim=1)
        else:
            bias = alibi_bias(slopes_H, len(part)).double()
        q, k, v = qkv_L3HA.permute(1, 2, 0, 3)
        mixed_HLA = scaled_dot_product_attention(q, k, v, attn_mask=bias)
        outputs.append(mixed_HLA.transpose(0, 1).flatten(1))
    return torch.cat(outputs)


def run_attention(
    qkv_TE: Tensor,
    out_TD: Tensor,
    lengths: tuple[int, ...],
    heads: int,
    kind: str,
    slopes_H: Tensor,
) -> None:
    offsets = torch.tensor([0, *lengths], device=out_TD.device).cumsum(0).int()
    groups = group_runs(EqualLengthRun(1, length) for length in lengths)
    if kind == "rotary":
        rows = -(-max(lengths) // TABLE_ROWS) * TABLE_ROWS
        tables = rotary_tables(
            torch.arange(rows, device=out_TD.device),
            out_TD.shape[1] // heads,
            FP16 if qkv_TE.dtype == FP16 else FP32,
        )
        rotary = tables[0][:, 0, 0].contiguous(), tables[1][:, 0, 0].contiguous()
        attention(qkv_TE, out_TD, offsets, groups, heads, rotary=rotary)
    else:
        attention(qkv_TE, out_TD, offsets, groups, heads, slopes_H=slopes_H)


@pytest.mark.parametrize("kind", ["rotary", "alibi"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("dtype", "out_dtype", "bound"),
    [  # queries, keys, weights and the result are each rounded: some four times half a step
        (FP16, FP16, 2**-9),
        (BF16, BF16, 2**-6),
        (FP16, FP8, 2**-4),
    ],
)
def test_attention_of_every_length(
    device: torch.device,
    kind: str,
    size: int,
    dtype: torch.dtype,
    out_dtype: torch.dtype,
    bound: float,
) -> None:
    heads = 1 if size > 32 or device.type == "cpu" else 3
    used, spare = sum(LENGTHS), 7
    qkv_TE = random(device, used + spare, 3 * heads * size).mul_(1.5)
    qkv_TE[used:] = math.nan
    qkv_TE[:, 2 * heads * size :] *= 16  # far from the subnormals of e4m3
    qkv_TE = amid_nan(qkv_TE.to(dtype))
    slopes_H = alibi_slopes(heads).to(device) * 16  # 1 head's would hardly matter
    with output(device, used + spare, heads * size, out_dtype, used) as out_TD:
        run_attention(qkv_TE, out_TD, LENGTHS, heads, kind, slopes_H)
    expected = twin_attention(qkv_TE, heads, LENGTHS, kind, slopes_H)
    parts = zip(out_TD[:used].split(LENGTHS), expected.split(LENGTHS), strict=True)
    for found, exact in parts:
        assert relative_error(found.double(), exact) < bound


@pytest.mark.parametrize("kind", ["rotary", "alibi"])
def test_heads_are_told_apart(device: torch.device, kind: str) -> None:
    heads, size, lengths = 3, 32, (70, 5, 260)
    qkv_TE = random(device, sum(lengths), 3 * heads * size, dtype=FP16)
    slopes_H = alibi_slopes(heads).to(device)
    with output(device, sum(lengths), heads * size, FP16) as out_TD:
        run_attention(qkv_TE, out_TD, lengths, heads, kind, slopes_H)
    expected = twin_attention(qkv_TE, heads, lengths, kind, slopes_H)
    for found, exact in zip(
        out_TD.unflatten(1, (heads, size)).unbind(1),
        expected.unflatten(1, (heads, size)).unbind(1),
        strict=True,
    ):
        assert relative_error(found.double(), exact) < 2**-9


def test_attention_to_one_large_score_does_not_overflow(device: torch.device) -> None:
    lengths = (40, 300)
    qkv_TE = random(device, sum(lengths), 96).mul_(30)
    qkv_TE[:, 64:] /= 30
    qkv_TE = qkv_TE.half()
    slopes_H = alibi_slopes(1).to(device)
    with output(device, sum(lengths), 32, FP16) as out_TD:
        run_attention(qkv_TE, out_TD, lengths, 1, "alibi", slopes_H)
    # Scores are in the thousands, exact in fp32; so is the softmax but for where two of them tie.
    expected = twin_attention(qkv_TE, 1, lengths, "alibi", slopes_H)
    assert relative_error(out_TD.double(), expected) < 2**-9


@pytest.mark.parametrize("length", [1, 32, 64, 65, 129, 200, 256, 257])
def test_attention_of_a_sequence_is_the_same_bytes_in_any_pack(
    device: torch.device, length: int
) -> None:
    def mixed(before: tuple[int, ...], behind: tuple[int, ...], seed: int) -> Tensor:
        lengths = (*before, length, *behind)
        qkv_TE = random(device, sum(lengths), 96, dtype=FP16, seed=seed)
        here = slice(sum(before), sum(before) + length)
        qkv_TE[here] = random(device, length, 96, dtype=FP16, seed=9)
        out_TD = torch.empty(sum(lengths), 32, dtype=FP16, device=device)
        run_attention(qkv_TE, out_TD, lengths, 1, "rotary", qkv_TE)
        return out_TD[here]

    alone, among = mixed((), (), 1), mixed((3, length, 77), (257, 1), 2)
    assert torch.equal(alone, among)
    assert torch.equal(alone, mixed((300,), (length,), 3))


def test_groups_cover_a_pack_in_order() -> None:
    runs = [
        EqualLengthRun(2, 5),
        EqualLengthRun(1, 32),
        EqualLengthRun(3, 33),
        EqualLengthRun(1, 64),
        EqualLengthRun(4, 300),
        EqualLengthRun(1, 999),
        EqualLengthRun(1, 7),
    ]
    groups = group_runs(runs)
    assert [(g.first, g.sequences, g.longest) for g in groups] == [
        (0, 3, 32), (3, 4, 64), (7, 5, 999), (12, 1, 7),
    ]  # fmt: skip
    assert all(g.longest <= g.tile.longest for g in groups)
