"""On a real GPU: `pytest -m gpu`."""

import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import FUSABLE_DNA, FUSABLE_PROTEIN, block_of, relative_error, tokens_of
from virnucpro.bundles import Bundle
from virnucpro.bundles.settle import choose_device
from virnucpro.encoders import (
    DnabertS,
    DnabertSConfig,
    Esm2,
    Esm2Config,
    Pack,
    Transformer,
    pack_sequences,
)
from virnucpro.encoders.table import spec_of
from virnucpro.prediction.worker import Worker
from virnucpro.runs.devices import Budgets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LENGTHS = [3, 3000, 50, 50, 17, 4, 257, 50]
#: Largest differences of a probability; those of the random bundles spread little.
ALLOWED = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 1e-1, "fp8": 0.2}
#: Least correlation of probabilities, which does not care how much they spread.
ALIKE = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99, "fp8": 0.98}


def need_capability(first: tuple[int, int]) -> None:
    if torch.cuda.get_device_capability() < first:
        pytest.skip(f"this GPU is older than compute capability {first[0]}.{first[1]}")


def worker_of(bundle: Bundle, precision: str, budgets: Budgets | None = None) -> Worker:
    if precision == "fp8":
        need_capability((9, 0))
    return Worker(bundle, choose_device("cuda", precision), 300, budgets)


@pytest.mark.parametrize("encoder", ["protein", "dna"])
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", 1e-5), ("float16", 3e-3), ("bfloat16", 3e-2)]
)
def test_packed_means_equal_those_of_the_cpu(encoder: str, dtype: str, bound: float) -> None:
    torch.manual_seed(1)
    network: Transformer
    if encoder == "protein":
        network = Esm2(Esm2Config(layers=3, width=128, heads=4, vocabulary=33)).eval()
    else:
        network = DnabertS(
            DnabertSConfig(layers=3, width=96, heads=12, feed_forward=192, vocabulary=4096)
        ).eval()
    pack = pack_sequences(tokens_of(LENGTHS, 5, 24), np.arange(len(LENGTHS)))
    device = torch.device("cuda")
    with torch.inference_mode():
        expected = network.embed(pack)
        found = network.to(device, getattr(torch, dtype)).embed(pack.to(device)).cpu()
    for row, reference in zip(found, expected, strict=True):
        assert relative_error(row, reference) < bound


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "fp8"])
def test_worker_scores_as_on_the_cpu_and_twice_the_same(
    fusable_bundle: Bundle, precision: str
) -> None:
    block = block_of(200, 900, 300)
    cpu = Worker(fusable_bundle, choose_device("cpu", "fp32"), 300)
    gpu = worker_of(fusable_bundle, precision)
    expected = cpu.score(cpu.prepare(block))
    first, second = (gpu.score(gpu.prepare(block)) for _ in range(2))
    assert len(expected) > 50
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, expected, atol=ALLOWED[precision])
    assert np.corrcoef(first[:, 1], expected[:, 1])[0, 1] > ALIKE[precision]
    assert gpu.work.incidents() == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_networks_that_no_kernel_takes_are_scored_all_the_same(
    tiny_bundle: Bundle, precision: str
) -> None:
    block = block_of(50, 900, 300)
    cpu = Worker(tiny_bundle, choose_device("cpu", "fp32"), 300)
    gpu = worker_of(tiny_bundle, precision)
    assert all("plain PyTorch" in note for note in gpu.notes)
    expected = cpu.score(cpu.prepare(block))
    found = gpu.score(gpu.prepare(block))
    np.testing.assert_allclose(found, expected, atol=ALLOWED[precision])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "fp8"])
def test_two_blocks_in_flight_are_scored_as_one_by_one(
    fusable_bundle: Bundle, precision: str
) -> None:
    worker = worker_of(fusable_bundle, precision)
    prepared = [worker.prepare(block_of(150, 900, 300, seed)) for seed in (1, 2)]
    one_by_one = [worker.score(each).copy() for each in prepared]
    pending = [worker.submit(each) for each in prepared]
    for waiting, scores_S2 in zip(pending, one_by_one, strict=True):
        np.testing.assert_array_equal(worker.collect(waiting), scores_S2)


@pytest.mark.parametrize("encoder", ["protein_encoder", "dna_encoder"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_packs_that_do_not_fit_are_done_in_two(
    fusable_bundle: Bundle, precision: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(fusable_bundle, precision, Budgets(4096, 4096))
    prepared = worker.prepare(block_of(200, 900, 300))
    expected = worker.score(prepared).copy()
    network = cast("Any", worker._model.get_submodule(encoder))
    embed, most, refused = network.embed, 1024, list[int]()

    def limited(pack: Pack) -> Tensor:
        if len(pack.tokens_T) > most and len(refused) < 3:
            refused.append(len(pack.tokens_T))
            raise torch.OutOfMemoryError("no room\nfor this pack")
        return cast("Tensor", embed(pack))

    monkeypatch.setattr(network, "embed", limited)
    found = worker.score(prepared)
    assert worker.work.packs_cut == len(refused) > 0
    np.testing.assert_allclose(found, expected, atol=ALLOWED[precision])


def test_scores_that_are_not_finite_are_computed_anew_in_fp32(
    fusable_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, worker = worker_of(fusable_bundle, "fp32"), worker_of(fusable_bundle, "fp16")
    prepared = worker.prepare(block_of(100, 900, 300))
    expected = exact.score(prepared)
    healthy = worker._model.forward

    def forward(protein_SD: Tensor, dna_SD: Tensor) -> Tensor:
        return healthy(protein_SD, dna_SD).index_fill(
            0, torch.tensor([3, 9], device=dna_SD.device), torch.nan
        )

    monkeypatch.setattr(worker._model, "forward", forward)
    found = worker.score(prepared)
    assert worker.work.frames_redone == 2
    np.testing.assert_allclose(found[[3, 9]], expected[[3, 9]], atol=1e-5)
    assert np.isfinite(found).all()


def use_kernels(network: Transformer) -> None:
    from virnucpro.encoders.steps import fused  # noqa: PLC0415 (needs Triton)

    fused.use_kernels(network)


def use_products(network: Transformer) -> None:
    need_capability((9, 0))
    spec_of(network.config).backends_for("fp16", torch.device("cuda"))[0].prepare(network)


def with_fp8(network: Transformer) -> None:
    from virnucpro.encoders.steps.fp8 import Fp8Steps, quantise_block  # noqa: PLC0415

    need_capability((9, 0))
    for block in network.blocks:
        quantise_block(cast("Any", block))
    network.steps = Fp8Steps(cast("Esm2", network).norm)


@pytest.mark.parametrize("length", [3, 33, 64, 130, 200, 256, 300])
@pytest.mark.parametrize(
    ("kind", "prepare"),
    [
        ("protein", use_kernels),
        ("protein", use_products),
        ("protein", with_fp8),
        ("dna", use_kernels),
        ("dna", use_products),
    ],
)
@torch.inference_mode()
def test_a_sequence_gives_the_same_bytes_in_any_pack_of_a_shape(
    kind: str, prepare: Callable[[Transformer], None], length: int
) -> None:
    torch.manual_seed(1)
    network = Esm2(FUSABLE_PROTEIN) if kind == "protein" else DnabertS(FUSABLE_DNA)
    network = network.to("cuda", torch.float16).eval().requires_grad_(requires_grad=False)
    prepare(network)
    rows = []
    for seed, (before, behind) in enumerate((([3, 1000], [2000, 60]), ([2040, 3, 1015], [5]))):
        lengths = [*before, length, *behind]
        tokens = tokens_of(lengths, 5, 24, seed)
        start, end = tokens.offsets[len(before) : len(before) + 2]
        tokens.ids[start:end] = tokens_of([length], 5, 24, seed=9).ids
        pack = pack_sequences(tokens, np.arange(len(lengths)), 4096)
        assert len(pack.tokens_T) == 4096
        rows.append(network.embed(pack.to(torch.device("cuda")))[len(before)])
    assert torch.equal(rows[0], rows[1])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_submitting_a_block_never_waits_for_the_gpu(fusable_bundle: Bundle) -> None:
    worker = worker_of(fusable_bundle, "fp16")
    prepared = worker.prepare(block_of(300, 900, 300))
    expected = worker.score(prepared)
    try:
        torch.cuda.set_sync_debug_mode("error")
        pending = worker.submit(prepared)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(worker.collect(pending), expected)


def test_without_triton_the_plain_backend_is_taken_and_said(
    fusable_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "virnucpro.encoders.steps.fused", None)
    monkeypatch.delattr("virnucpro.encoders.steps.fused", raising=False)
    worker = worker_of(fusable_bundle, "fp16")
    assert all("plain PyTorch; Triton cannot be loaded" in note for note in worker.notes)
    assert np.isfinite(worker.score(worker.prepare(block_of(20, 900, 300)))).all()


def test_a_gpu_that_is_nearly_full_is_survived(fusable_bundle: Bundle) -> None:
    worker = worker_of(fusable_bundle, "fp16", Budgets(1 << 20, 1 << 20))
    prepared = worker.prepare(block_of(3000, 900, 300))
    expected = worker.score(prepared)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (48 << 20)) / total)
    try:
        found = worker.score(prepared)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert worker.work.packs_cut > 0
    assert "out of memory" in worker.work.incidents()[0]
    np.testing.assert_allclose(found, expected, atol=1e-2)
