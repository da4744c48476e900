"""Every way of computing a network against the plain one, on a GPU or in Triton's interpreter."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import FUSABLE, relative_error, tokens_of
from virnucpro.encoders import DnabertS, Esm2, pack_sequences, precision
from virnucpro.encoders.dnabert_s import DnabertSBlock
from virnucpro.encoders.esm2 import Esm2Block
from virnucpro.encoders.packing import Pack
from virnucpro.encoders.precision import Encoder, speed_up
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.steps.plain import PlainSteps
from virnucpro.errors import SettingsError

pytest.importorskip("triton")
from virnucpro.encoders.steps.fp8 import Fp8Steps, bound, quantise_block, quantise_rows
from virnucpro.encoders.steps.fused import FusedProductSteps, FusedSteps, interleave

#: The interpreter computes with NumPy, which warns of infinities; a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
#: Both sides of some borders of the tiles, in no order.
LENGTHS = [65, 3, 130, 32, 33, 33, 17, 270, 8]


def protein_network() -> Esm2:
    return randomised(Esm2(FUSABLE.protein))


def dna_network() -> DnabertS:
    return randomised(DnabertS(FUSABLE.dna))


def randomised[N: nn.Module](network: N) -> N:
    """Draw weights that fp16 holds, large enough that attention is far from uniform."""
    torch.manual_seed(5)
    for name, parameter in network.named_parameters():
        mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        nn.init.normal_(parameter, mean=mean, std=0.2)
    return network.half().float().eval().requires_grad_(requires_grad=False)
