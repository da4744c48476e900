"""Blocks stored in 8 and 4 bits: what is stored, what is computed with it, how it is loaded."""

import copy
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import FUSABLE_PROTEIN, tokens_of
from virnucpro.bundles import Bundle
from virnucpro.classify import load_classifier
from virnucpro.encoders import Esm2, Esm2Config, Pack, pack_sequences, precision, trial
from virnucpro.encoders.backends import Backend
from virnucpro.encoders.packed import PackedBlock, PackedLinear, load_packed, pack
from virnucpro.encoders.precision import check_precision, stored_bits
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.table import memory_of
from virnucpro.errors import BundleError, SettingsError

CPU = torch.device("cpu")
HAS_GPU = torch.cuda.is_available()
SMALL = Esm2Config(layers=3, width=128, heads=4, vocabulary=33)
LENGTHS = [52, 3, 102, 168, 102]


def network_of(config: Esm2Config = SMALL, std: float = 0.02) -> Esm2:
    """Return a network for inference whose weights are normal, the embedding's of variance 1."""
    torch.manual_seed(3)
    network = Esm2(config).eval().requires_grad_(requires_grad=False)
    for name, parameter in network.blocks.named_parameters():
        nn.init.normal_(parameter, mean=float("norm.weight" in name), std=std)
    return network


def packed_copy(network: Esm2, bits: int) -> Esm2:
    packed = copy.deepcopy(network)
    pack(packed, bits)
    return packed


def expanded_copy(packed: Esm2) -> Esm2:
    """Return an ordinary network with the expanded weights of a packed one."""
    ordinary = Esm2(packed.config).to(packed.embedding.weight.dtype)
    ordinary.embedding, ordinary.norm = packed.embedding, packed.norm
    blocks = [cast("PackedBlock", block) for block in packed.blocks]
    ordinary.blocks = nn.ModuleList(copy.deepcopy(block.ready()) for block in blocks)
    return ordinary.eval().requires_grad_(requires_grad=False)


def pack_of(lengths: list[int], device: torch.device = CPU) -> Pack:
    return pack_sequences(tokens_of(lengths, 4, 24), np.arange(len(lengths)), 16).to(device)


def expanded(packed: PackedLinear, columns: int) -> nn.Linear:
    linear = nn.Linear(columns, len(packed.weight_NK)).requires_grad_(requires_grad=False)
    packed.expand_into(linear)
    return linear


def linear_of(weight_NK: Tensor) -> nn.Linear:
    linear = nn.Linear(weight_NK.shape[1], len(weight_NK))
    linear.weight = nn.Parameter(weight_NK)
    return linear


# ---- one product


@settings(deadline=None)
@given(
    rows=st.integers(1, 20),
    pairs=st.integers(1, 200),
    powers=st.tuples(st.integers(-9, 4), st.integers(-9, 4)),
    bits=st.sampled_from([8, 4]),
    seed=st.integers(0, 1000),
)
def test_expanded_weights_are_within_half_a_step(
    rows: int, pairs: int, powers: tuple[int, int], bits: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(*powers, rows)[:, None] * (torch.rand(rows, 1, generator=random) > 0.1)
    weight_NK = torch.randn(rows, 2 * pairs, generator=random) * sizes
    linear = linear_of(weight_NK)
    packed = PackedLinear(linear, bits)
    found = expanded(packed, 2 * pairs)
    assert torch.equal(found.bias, linear.bias)
    columns = 2 * pairs // packed.scales_NG.shape[1]
    steps_NK = packed.scales_NG.float().repeat_interleave(columns, dim=1) * (1 if bits == 8 else 16)
    ends = (-127 * steps_NK, 127 * steps_NK) if bits == 8 else (-8 * steps_NK, 7 * steps_NK)
    held_NK = weight_NK.clamp(torch.minimum(*ends), torch.maximum(*ends))
    if bits == 8:
        assert torch.equal(held_NK, weight_NK)
    rounded_to_fp16 = found.weight.abs() * 2**-11 + 2**-25
    away = (found.weight - held_NK).abs()
    assert (away <= steps_NK.abs() * (0.5 + 1e-4) + rounded_to_fp16).all()


@pytest.mark.parametrize(("bits", "largest"), [(8, 0.008), (4, 0.0985)])
def test_the_error_of_normal_weights(bits: int, largest: float) -> None:
    weight_NK = torch.randn(512, 640, generator=torch.Generator().manual_seed(1)) * 0.02
    found = expanded(PackedLinear(linear_of(weight_NK), bits), 640).weight
    assert (found - weight_NK).norm() / weight_NK.norm() < largest


def test_four_bits_lie_as_described() -> None:
    packed = PackedLinear(nn.Linear(96, 5), 4)
    assert (packed.weight_NK.dtype, tuple(packed.weight_NK.shape)) == (torch.uint8, (5, 48))
    assert (packed.scales_NG.dtype, tuple(packed.scales_NG.shape)) == (torch.float16, (5, 3))
    found = expanded(packed, 96).weight
    for row in range(5):
        for column in range(96):
            group, place = divmod(column, 32)
            byte = int(packed.weight_NK[row, 16 * group + place % 16])
            half = byte & 15 if place < 16 else byte >> 4
            value = half - 16 if half > 7 else half
            scale = np.float16(packed.scales_NG[row, group].item())
            assert found[row, column] == np.float16(16 * value) * scale


def test_eight_bits_are_a_number_times_the_scale_of_the_row() -> None:
    packed = PackedLinear(nn.Linear(96, 5), 8)
    assert (packed.weight_NK.dtype, tuple(packed.weight_NK.shape)) == (torch.int8, (5, 96))
    assert (packed.scales_NG.dtype, tuple(packed.scales_NG.shape)) == (torch.float16, (5, 1))
    assert torch.equal(packed.weight_NK.abs().amax(dim=1), torch.full((5,), 127))
    product = packed.weight_NK.half() * packed.scales_NG
    assert torch.equal(expanded(packed, 96).weight, product.float())


@pytest.mark.parametrize("bits", [8, 4])
def test_a_weight_that_is_no_number_stays_none(bits: int) -> None:
    weight_NK = torch.randn(3, 256)
    weight_NK[1, 7] = torch.nan
    found = expanded(PackedLinear(linear_of(weight_NK), bits), 256).weight
    assert found[1, :128].isnan().all()
    assert found[[0, 2]].isfinite().all()


@pytest.mark.parametrize("bits", [8, 4])
def test_rows_are_rounded_alone(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = nn.Linear(128, 50)
    whole = PackedLinear(linear, bits)
    monkeypatch.setattr("virnucpro.encoders.packed._BAND", 7)
    for name, tensor in PackedLinear(linear, bits).state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])


# ---- a network


@pytest.mark.parametrize(("bits", "alike"), [(8, 0.9999), (4, 0.99)])
@torch.inference_mode()
def test_means_point_where_the_exact_ones_do(bits: int, alike: float) -> None:
    network, tokens = network_of(), pack_of(LENGTHS)
    found, expected = packed_copy(network, bits).embed(tokens), network.embed(tokens)
    assert torch.cosine_similarity(found, expected).min() > alike


@pytest.mark.parametrize("bits", [8, 4])
@torch.inference_mode()
def test_packed_blocks_compute_what_ordinary_ones_with_their_weights_do(bits: int) -> None:
    packed, tokens = packed_copy(network_of(), bits), pack_of(LENGTHS)
    expected = expanded_copy(packed)(tokens)
    assert torch.equal(packed(tokens), expected)
    assert torch.equal(packed(tokens), expected)  # whatever the first pass left behind


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of infinities, in Triton's interpreter
@pytest.mark.parametrize("steps", ["use_kernels", "use_products"])
@pytest.mark.parametrize("bits", [8, 4])
@torch.inference_mode()
def test_fused_steps_compute_packed_blocks(device: torch.device, steps: str, bits: int) -> None:
    fused = pytest.importorskip("virnucpro.encoders.steps.fused")
    if HAS_GPU and steps == "use_products" and torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("these products are Hopper's")
    packed = packed_copy(network_of(FUSABLE_PROTEIN).half().to(device), bits)
    ordinary, tokens = expanded_copy(packed), pack_of([3, 20], device)
    for network in (packed, ordinary):
        getattr(fused, steps)(network)
    assert torch.equal(packed.embed(tokens), ordinary.embed(tokens))


@pytest.mark.parametrize("bits", [8, 4])
def test_a_packed_network_is_packed_once(bits: int) -> None:
    network = packed_copy(network_of(), bits)
    blocks = list(network.blocks)
    pack(network, 8)
    assert list(network.blocks) == blocks


def test_all_blocks_share_one() -> None:
    blocks = [cast("PackedBlock", block) for block in packed_copy(network_of(), 8).blocks]
    assert len({id(block.shared) for block in blocks}) == 1
    first, second = (block.ready() for block in blocks[:2])
    assert first is second
    assert second.feed_norm is blocks[1].feed_norm


# ---- precisions


def with_fp8(network: Esm2) -> None:
    fp8 = pytest.importorskip("virnucpro.encoders.steps.fp8")
    for block in network.blocks:
        fp8.quantise_block(block)


@pytest.mark.parametrize("name", precision.DTYPES)
def test_memory_is_what_the_weights_take(name: str) -> None:
    config = Esm2Config(layers=3, width=320, heads=4, vocabulary=33)
    network = network_of(config).to(precision.DTYPES[name])
    if name == "fp8":
        with_fp8(network)
    elif bits := stored_bits(name):
        pack(network, bits)
    tensors = [*network.parameters(), *network.buffers()]
    assert memory_of(config, name) == pytest.approx(sum(t.nbytes for t in tensors), rel=2e-3)


@pytest.mark.parametrize("name", ["fp16", "fp8", "int4"])
def test_precisions_that_compute_in_16_bits_need_a_gpu(name: str) -> None:
    said = f"{name} needs a GPU; on a CPU give fp32, bf16 or int8"
    with pytest.raises(SettingsError, match=said):
        check_precision(name, CPU)


def test_a_network_is_packed_where_its_precision_says() -> None:
    network = network_of()
    assert speed_up(network, "int4") == "plain PyTorch"
    assert all(isinstance(block, PackedBlock) for block in network.blocks)


def test_on_a_cpu_nothing_is_packed_in_8_bit() -> None:
    assert stored_bits("int8") == 8
    assert stored_bits("int8", CPU) is None
    assert stored_bits("int4", CPU) == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["int8", "int4"])
def test_the_trial_takes_packed_networks(
    device: torch.device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = pytest.importorskip("virnucpro.encoders.steps.fused")
    if not HAS_GPU:  # the interpreter would take a minute
        monkeypatch.setattr(trial, "_TRIAL_LENGTHS", (3, 17))
    network = network_of(FUSABLE_PROTEIN).half().to(device)
    pack(network, stored_bits(name) or 0)

    def fault(prepare: Callable[[Any], None]) -> str:
        backend = Backend("kernels", "", frozenset(), prepare)
        return trial.fault_of(network, backend, name, trial.FIRST_BLOCK)

    assert fault(fused.use_kernels) == ""
    steps = network.steps

    def prepare(probe: Any) -> None:  # noqa: ANN401
        fused.use_kernels(probe)
        probe.blocks[0].up.weight.neg_()

    assert "off by" in fault(prepare)
    assert network.steps is steps


# ---- loading


class Reading:
    """Reads a network's tensors from arrays and notes which still live when it is asked again."""

    def __init__(self, network: Esm2) -> None:
        self.state = network.state_dict()
        self.asked: list[list[str]] = []
        self.weights_alive: list[int] = []
        self._given: list[weakref.ref[Any]] = []

    def __call__(self, names: Iterable[str]) -> dict[str, Tensor]:
        self.asked.append(list(names))
        alive = [given() for given in self._given]
        self.weights_alive.append(sum(a is not None and a.ndim == 2 for a in alive))
        found = {name: self.state[name].numpy().copy() for name in self.asked[-1]}
        self._given += [weakref.ref(array) for array in found.values()]
        return {name: torch.from_numpy(array) for name, array in found.items()}


@pytest.mark.parametrize("bits", [8, 4])
@torch.inference_mode()
def test_one_block_is_read_at_a_time(bits: int) -> None:
    network, tokens = network_of(), pack_of(LENGTHS)
    read = Reading(network)
    with torch.device("meta"):
        loaded = Esm2(network.config)
    load_packed(loaded, read, bits)
    prefixes = [{name[: name.rfind(".", 0, 9)] for name in names} for names in read.asked[1:]]
    assert prefixes == [{f"blocks.{i}"} for i in range(SMALL.layers)]
    assert max(map(len, read.asked)) == 2 * 6  # four products and two norms
    assert sorted(name for names in read.asked for name in names) == sorted(read.state)
    assert read.weights_alive == [0, 1, 1, 1]  # the embedding
    assert torch.equal(loaded.embed(tokens), packed_copy(network, bits).embed(tokens))


@pytest.mark.parametrize("bits", [8, 4])
def test_a_bundle_is_packed_as_it_is_read(tiny_bundle: Bundle, bits: int) -> None:
    whole = load_classifier(tiny_bundle, CPU, torch.float32)
    pack(cast("Esm2", whole.protein_encoder), bits)
    found = load_classifier(tiny_bundle, CPU, torch.float32, bits)
    assert not found.training
    expected = whole.state_dict()
    assert found.state_dict().keys() == expected.keys()
    stored = (name for name in expected if ".shared." not in name)
    assert all(torch.equal(found.state_dict()[name], expected[name]) for name in stored)


def test_a_bundle_of_other_sizes_is_refused(tiny_bundle: Bundle) -> None:
    encoder = msgspec.structs.replace(tiny_bundle.manifest.protein_encoder, width=64)
    manifest = msgspec.structs.replace(tiny_bundle.manifest, protein_encoder=encoder)
    with pytest.raises(BundleError, match="where the manifest's sizes need"):
        load_classifier(replace(tiny_bundle, manifest=manifest), CPU, torch.float32, 8)
