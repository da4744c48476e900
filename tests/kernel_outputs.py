"""Inputs and outputs of kernels: random rows amid NaN, and what rounding may cost.

A kernel's twin computes in fp64 from the same rounded inputs, so what is allowed is half a step of
the output's type (2^-11 of a number in fp16, 2^-8 in bf16, 2^-4 in e4m3) and, where numbers
cancel, the error of sums in fp32.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32
FP8 = torch.float8_e4m3fn
#: Largest error of rounding to nearest, as a share of the number, with a little to spare.
ROUNDING = {FP16: 1.05 * 2**-11, BF16: 1.05 * 2**-8, FP8: 1.05 * 2**-4, FP32: 2**-20}
#: Smallest step of e4m3 (its subnormals), halved; those of the others do not matter here.
SMALLEST = {FP16: 0.0, BF16: 0.0, FP8: 2**-10, FP32: 0.0}
GUARD = 16


def random(device: torch.device, *shape: int, dtype: torch.dtype = FP32, seed: int = 0) -> Tensor:
    """Return normal numbers, the same ones on any device."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return amid_nan(values.to(device=device, dtype=dtype))


def amid_nan(rows: Tensor) -> Tensor:
    """Return the same rows with rows of NaN before and behind them in memory."""
    room = rows.new_empty(len(rows) + 2 * GUARD, *rows.shape[1:], dtype=FP32).fill_(math.nan)
    room = room.to(rows.dtype)
    room[GUARD:-GUARD] = rows
    return room[GUARD:-GUARD]


@contextmanager
def output(
    device: torch.device, rows: int, width: int, dtype: torch.dtype, used: int | None = None
) -> Iterator[Tensor]:
    """Give an output of NaN; check that all `used` rows were written, and nothing else."""
    room = torch.full((rows + 2 * GUARD, width), math.nan, device=device).to(dtype)
    found = room[GUARD : GUARD + rows]
    yield found
    end = GUARD + (rows if used is None else used)
    written = room.float()
    assert written[GUARD:end].isfinite().all()
    assert written[:GUARD].isnan().all()
    assert written[end:].isnan().all()


def check(found: Tensor, expected: Tensor, dtype: torch.dtype, *, sums: float = 2**-18) -> None:
    """Compare with a twin in fp64 whose numbers are around 1."""
    torch.testing.assert_close(
        found.double(), expected, rtol=ROUNDING[dtype], atol=sums + SMALLEST[dtype]
    )
