"""On a real GPU: `pytest -m gpu`."""

import numpy as np
import pytest
import torch

from conftest import relative_error, tokens_of
from virnucpro.bundles import Bundle
from virnucpro.encoders import DnabertS, DnabertSConfig, Esm2, Esm2Config, pack_sequences
from virnucpro.engine.blocks import Block, Piece
from virnucpro.engine.devices import choose_device
from virnucpro.engine.worker import Worker

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LENGTHS = [3, 3000, 50, 50, 17, 4, 257, 50]


@pytest.mark.parametrize("encoder", ["protein", "dna"])
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", 1e-5), ("float16", 3e-3), ("bfloat16", 3e-2)]
)
def test_packed_means_equal_those_of_the_cpu(encoder: str, dtype: str, bound: float) -> None:
    torch.manual_seed(1)
    network: Esm2 | DnabertS
    if encoder == "protein":
        network = Esm2(Esm2Config(layers=3, width=128, heads=4)).eval()
    else:
        network = DnabertS(DnabertSConfig(layers=3, width=96, heads=12, feed_forward=192)).eval()
    pack = pack_sequences(tokens_of(LENGTHS, 5, 24), np.arange(len(LENGTHS)))
    device = torch.device("cuda")
    with torch.inference_mode():
        expected = network.embed(pack)
        found = network.to(device, getattr(torch, dtype)).embed(pack.to(device)).cpu()
    for row, reference in zip(found, expected, strict=True):
        assert relative_error(row, reference) < bound


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_worker_scores_as_on_the_cpu_and_twice_the_same(
    tiny_bundle: Bundle, precision: str
) -> None:
    random = np.random.default_rng(3)
    letters = ["".join(random.choice(list("ACGT"), size=n)) for n in random.integers(30, 900, 200)]
    pieces = [
        Piece(i, f"r{i}", len(s), -(-len(s) // 300), 0, -(-len(s) // 300), 0, s)
        for i, s in enumerate(letters)
    ]
    block = Block(0, pieces)
    cpu = Worker(tiny_bundle, choose_device("cpu", "fp32"), 300)
    gpu = Worker(tiny_bundle, choose_device("cuda", precision), 300)
    expected = cpu.score(cpu.prepare(block)).scores_S2
    first, second = (gpu.score(gpu.prepare(block)).scores_S2 for _ in range(2))
    assert len(expected) > 50
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(
        first, expected, atol={"fp32": 1e-5, "fp16": 1e-2, "bf16": 1e-1}[precision]
    )
