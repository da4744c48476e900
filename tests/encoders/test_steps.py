"""Every way of computing a network against the plain one, on a GPU or in Triton's interpreter."""

import copy
from collections.abc import Callable
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import FUSABLE_DNA, FUSABLE_PROTEIN, relative_error, tokens_of
from virnucpro.encoders import DnabertS, Esm2, Pack, Transformer, pack_sequences, precision, trial
from virnucpro.encoders.backends import Backend
from virnucpro.encoders.esm_c import EsmC, EsmCConfig
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.table import spec_of

pytest.importorskip("triton")
from virnucpro.encoders.kernels.products import paired_order
from virnucpro.encoders.steps.fp8 import Fp8Steps, bound, quantise_block, quantise_rows
from virnucpro.encoders.steps.fused import (
    FusedProductSteps,
    FusedSteps,
    interleave,
    use_kernels,
)

#: The interpreter computes with NumPy, which warns of infinities; a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
FP16, BF16 = torch.float16, torch.bfloat16
HAS_GPU = torch.cuda.is_available()
#: In no order; the interpreter needs milliseconds for a row.
LENGTHS = [65, 3, 130, 32, 33, 33, 17, 270, 8] if HAS_GPU else [33, 3, 3, 40]
NETWORKS: dict[str, Callable[[], Transformer]] = {
    "protein": lambda: Esm2(FUSABLE_PROTEIN),
    "esm_c": lambda: EsmC(EsmCConfig(2, 64, 2, feed_forward=96, vocabulary=33)),
    "dna": lambda: DnabertS(msgspec.structs.replace(FUSABLE_DNA, layers=2)),
}


def network_of(kind: str, device: torch.device) -> Transformer:
    """Return random weights that fp16 holds, large enough that attention is far from uniform."""
    torch.manual_seed(5)
    network = NETWORKS[kind]()
    for name, parameter in network.named_parameters():
        mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        nn.init.normal_(parameter, mean=mean, std=0.2)
    return network.half().float().to(device).eval().requires_grad_(requires_grad=False)


def use_products(network: Transformer) -> None:
    spec_of(network.config).backends_for("fp16", torch.device("cuda"))[0].prepare(network)
    assert isinstance(network.steps, FusedProductSteps)


def with_fp8(network: Transformer) -> None:
    for block in network.blocks:
        quantise_block(cast("Any", block))
    network.steps = Fp8Steps(cast("Esm2", network).norm)


def need_capability(device: torch.device, first: tuple[int, int]) -> None:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < first:
        pytest.skip(f"this GPU is older than compute capability {first[0]}.{first[1]}")


def pack_of(lengths: list[int], device: torch.device, multiple_of: int = 16) -> Pack:
    tokens = tokens_of(lengths, 4, 24)
    return pack_sequences(tokens, np.arange(len(lengths)), multiple_of).to(device)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("prepare", [use_kernels, use_products])
@pytest.mark.parametrize(
    ("dtype", "allowed"),
    [(FP16, 3e-3), (BF16, 3e-2)],  # some ten roundings of half a step, 2^-12 and 2^-9 on average
)
@torch.inference_mode()
def test_fused_steps_equal_the_plain_ones(
    device: torch.device,
    kind: str,
    prepare: Callable[[Transformer], None],
    dtype: torch.dtype,
    allowed: float,
) -> None:
    if prepare is use_products:
        need_capability(device, (9, 0))
    exact = network_of(kind, device)
    fused = copy.deepcopy(exact).to(dtype)
    prepare(fused)
    pack = pack_of(LENGTHS, device)
    assert len(pack.tokens_T) > pack.used
    states: list[Tensor] = []
    fused.register_forward_hook(lambda _, __, hidden_TD: states.append(hidden_TD))
    found = fused.embed(pack)
    assert (states[0].dtype, found.dtype) == (dtype, torch.float32)
    assert states[0].isfinite().all()
    assert relative_error(states[0].float()[: pack.used], exact(pack)[: pack.used]) < 2 * allowed
    for row, expected in zip(found, exact.embed(pack), strict=True):
        assert relative_error(row, expected) < allowed


@torch.inference_mode()
def test_means_of_8_bit_point_where_the_exact_ones_do(device: torch.device) -> None:
    need_capability(device, (9, 0))
    exact = network_of("protein", device)
    fused = copy.deepcopy(exact).half()
    with_fp8(fused)
    pack = pack_of(LENGTHS, device)
    found, expected = fused.embed(pack), exact.embed(pack)
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.98


@pytest.mark.parametrize("kind", NETWORKS)
@torch.inference_mode()
def test_padding_changes_no_byte(device: torch.device, kind: str) -> None:
    need_capability(device, (9, 0))
    fused = network_of(kind, device).half()
    use_products(fused)
    bare, padded = (fused.embed(pack_of([3, 20], device, multiple_of=n)) for n in (1, 64))
    assert torch.equal(bare, padded)


def in_two_packs(device: torch.device, length: int) -> tuple[tuple[Pack, int], tuple[Pack, int]]:
    """Return one sequence in two packs of one shape: other mates, another place."""
    packs = []
    for seed, (before, behind) in enumerate((([3, 10], [15]), ([12, 3, 11], []))):
        lengths = [*before, length, *behind]
        tokens = tokens_of(lengths, 4, 24, seed)
        here = slice(tokens.offsets[len(before)], tokens.offsets[len(before) + 1])
        tokens.ids[here] = tokens_of([length], 4, 24, seed=9).ids
        packs.append((pack_sequences(tokens, np.arange(len(lengths)), 16).to(device), len(before)))
    assert packs[0][0].tokens_T.shape == packs[1][0].tokens_T.shape
    return packs[0], packs[1]


@pytest.mark.parametrize("length", [3, 65, 200, 300] if HAS_GPU else [3, 33])
@pytest.mark.parametrize(
    ("kind", "prepare"), [("protein", use_products), ("dna", use_products), ("protein", with_fp8)]
)
@torch.inference_mode()
def test_a_sequence_gives_the_same_bytes_in_any_pack_of_a_shape(
    device: torch.device, kind: str, prepare: Callable[[Transformer], None], length: int
) -> None:
    need_capability(device, (9, 0))
    network = network_of(kind, device).half()
    prepare(network)
    first, second = (network.embed(pack)[i] for pack, i in in_two_packs(device, length))
    assert torch.equal(first, second)


@pytest.mark.parametrize("kind", NETWORKS)
@torch.inference_mode()
def test_a_sequence_gives_nearly_the_same_in_any_pack_with_plain_steps(kind: str) -> None:
    device = torch.device("cpu")
    network = network_of(kind, device)
    first, second = (network.embed(pack)[i] for pack, i in in_two_packs(device, 33))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_interleaved_rows_are_each_gate_and_its_value(*, bias: bool) -> None:
    linear = nn.Linear(3, 64, bias=bias)
    before = {name: tensor.clone() for name, tensor in linear.state_dict().items()}
    interleave(linear)
    assert linear.state_dict().keys() == before.keys()
    for name, tensor in linear.state_dict().items():
        for pair, row in enumerate(paired_order(32).tolist()):
            assert torch.equal(tensor[2 * pair], before[name][row])
            assert torch.equal(tensor[2 * pair + 1], before[name][row + 32])


# ---- 8 bit


@pytest.mark.parametrize("seed", range(20))
@torch.no_grad()
def test_nothing_exceeds_the_bound(seed: int) -> None:
    torch.manual_seed(seed)
    norm, linear = nn.LayerNorm(24), nn.Linear(24, 40)
    for parameter in (*norm.parameters(), *linear.parameters()):
        nn.init.normal_(parameter, std=3.0)
    anything = torch.randn(500, 24) * torch.logspace(-3, 3, 500)[:, None]
    along = linear.weight * norm.weight  # inputs that make one output as large as can be
    spikes = 1e4 * torch.eye(24)
    largest = linear(norm(torch.cat([anything, along, -along, spikes, -spikes]))).abs().max()
    limit = bound(norm, linear.weight, linear.bias)
    assert largest <= limit * (1 + 1e-5)
    assert largest >= limit / 3  # and it is no idle one


def test_quantised_rows_are_within_half_a_step() -> None:
    values = torch.randn(30, 200, generator=torch.Generator().manual_seed(1))
    values = torch.cat([values * torch.logspace(-6, 4, 30)[:, None], torch.zeros(1, 200)])
    found, scales_N1 = quantise_rows(values)
    assert (found.float().abs().amax(dim=1)[:-1] == 448).all()
    away = (found.float() * scales_N1 - values).abs()
    assert (away <= 1.01 * (values.abs() / 16).maximum(scales_N1 * 2**-10)).all()


# ---- the choice


class BrokenNorm(FusedSteps):
    """Forgets to normalise."""

    def norm(self, x_TD: Tensor, norm: nn.LayerNorm) -> Rows:
        return Rows(x_TD * norm.weight)


class NotFinite(FusedSteps):
    """Loses a sequence."""

    def mean_pool(self, hidden_TD: Tensor, pack: Pack, trim: int = 0) -> Tensor:
        means_SD = super().mean_pool(hidden_TD, pack, trim)
        means_SD[0] = torch.nan
        return means_SD


def backend(prepare: Callable[[Transformer], None]) -> Backend:
    return Backend("a backend", "", frozenset(), prepare)


def raising(error: Exception) -> Callable[[Transformer], None]:
    def prepare(_: Transformer) -> None:
        raise error

    return prepare


def having(steps: FusedSteps) -> Callable[[Transformer], None]:
    def prepare(network: Transformer) -> None:
        network.steps = steps

    return prepare


def fault(
    kind: str, device: torch.device, prepare: Callable[[Transformer], None], name: str
) -> str:
    """Try a backend on a network of the precision's type, which must stay as it was."""
    network = network_of(kind, device).to(precision.DTYPES[name])
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    steps = network.steps
    found = trial.fault_of(network, backend(prepare), name, trial.FIRST_BLOCK)
    assert network.steps is steps
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    return found


@pytest.fixture
def short_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    if not HAS_GPU:  # the interpreter would take a minute
        monkeypatch.setattr(trial, "_TRIAL_LENGTHS", (3, 33))


@pytest.mark.usefixtures("short_trial")
@pytest.mark.parametrize(
    ("kind", "prepare", "name"),
    [
        ("protein", use_products, "fp16"),
        ("dna", use_products, "fp16"),
        ("dna", use_kernels, "bf16"),
        ("protein", with_fp8, "fp8"),
    ],
)
def test_a_right_backend_has_no_fault(
    device: torch.device, kind: str, prepare: Callable[[Transformer], None], name: str
) -> None:
    need_capability(device, (9, 0))
    assert fault(kind, device, prepare, name) == ""


@pytest.mark.usefixtures("short_trial")
@pytest.mark.parametrize("steps", [BrokenNorm(), NotFinite()])
def test_a_backend_with_a_wrong_result_is_told(device: torch.device, steps: FusedSteps) -> None:
    assert fault("protein", device, having(steps), "fp16").startswith("its result is ")


def test_of_a_backend_that_fails_the_first_line_is_told(device: torch.device) -> None:
    found = fault("dna", device, raising(ValueError("no such tile\nat line 3")), "fp16")
    assert found == "ValueError: no such tile"


def test_a_backend_may_fail_without_a_word(device: torch.device) -> None:
    assert fault("dna", device, raising(AssertionError()), "fp16").startswith("AssertionError")


@torch.inference_mode()
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("multiple_of", [1, 64])
def test_cpu_steps_give_what_plain_steps_give(kind: str, multiple_of: int) -> None:
    network = network_of(kind, torch.device("cpu"))
    lengths = [3, 1100, 64, 64, 4, 17, 3]
    tokens = tokens_of(lengths, 4, 24)
    pack = pack_sequences(tokens, np.arange(len(lengths)), multiple_of)
    expected = network.embed(pack)
    assert speed_up(network, "fp32") == "fused steps for a CPU"
    found = network.embed(pack)
    assert relative_error(found, expected) < 1e-5
    torch.testing.assert_close(network.embed(pack), found, rtol=0, atol=0)


@pytest.mark.parametrize("kind", NETWORKS)
def test_in_bf16_on_a_cpu_steps_stay_plain(kind: str) -> None:
    network = network_of(kind, torch.device("cpu"))
    steps = network.steps
    assert speed_up(network, "bf16") == "plain PyTorch"
    assert network.steps is steps
