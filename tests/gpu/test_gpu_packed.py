"""Blocks stored in 8 and 4 bits, on a real GPU: `pytest -m gpu`."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import tokens_of
from virnucpro.encoders import Esm2, Esm2Config, Pack, pack_sequences
from virnucpro.encoders.packed import load_packed
from virnucpro.encoders.precision import DTYPES, stored_bits
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.table import memory_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")
CONFIG = Esm2Config(layers=4, width=1280, heads=20, vocabulary=33)
#: Least cosine with the means in fp32.
ALIKE = {"fp16": 0.9999, "int8": 0.9995, "int4": 0.98}


class Measured(NamedTuple):
    """What a precision gave; bytes are those beside what was there before."""

    note: str
    loaded: int
    peak: int
    means_SD: Tensor


def random_state() -> dict[str, Tensor]:
    """Return weights of a network in fp16, on the host."""
    torch.manual_seed(3)
    network = Esm2(CONFIG)
    for name, parameter in network.blocks.named_parameters():
        nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.02)
    return {name: tensor.half() for name, tensor in network.state_dict().items()}


def load(state: dict[str, Tensor], precision: str) -> Esm2:
    dtype, bits = DTYPES[precision], stored_bits(precision)

    def read(names: Iterable[str]) -> dict[str, Tensor]:
        return {name: state[name].to(CUDA, dtype) for name in names}

    with torch.device("meta"):
        network = Esm2(CONFIG)
    if bits is not None:
        load_packed(network, read, bits)
    else:
        network.load_state_dict(read(state), assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def asked() -> int:
    """Return the bytes of all tensors, without what blocks of the allocator have beside them."""
    return int(torch.cuda.memory_stats()["requested_bytes.all.current"])


def measure(state: dict[str, Tensor], precision: str, tokens: Pack) -> Measured:
    before, asked_before = torch.cuda.memory_allocated(), asked()
    network = load(state, precision)
    loaded = asked() - asked_before  # kernels keep workspaces of their own later
    note = speed_up(network, precision)
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        means_SD = network.embed(tokens).cpu()
    return Measured(note, loaded, torch.cuda.max_memory_allocated() - before, means_SD)


def test_packed_networks_give_nearly_the_same_in_less_memory() -> None:
    state, lengths = random_state(), [52, 3, 102, 168, 700, 300]
    tokens = pack_sequences(tokens_of(lengths, 4, 24), np.arange(len(lengths)), 16).to(CUDA)
    exact = measure(state, "fp32", tokens)  # first: libraries take their workspaces now
    found = {name: measure(state, name, tokens) for name in ALIKE}
    for name, alike in ALIKE.items():
        assert torch.cosine_similarity(found[name].means_SD, exact.means_SD).min() > alike
        assert found[name].loaded == pytest.approx(memory_of(CONFIG, name), rel=0.02)
        assert found[name].note == found["fp16"].note
    assert found["int4"].peak < found["int8"].peak < found["fp16"].peak
