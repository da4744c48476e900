"""Products of 8 bit on a CPU: against plain fp32, and where they fail."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from bundle_files import put
from conftest import FUSABLE_DNA, relative_error, tokens_of
from processes import run
from virnucpro import predict
from virnucpro.bundles import load_bundle
from virnucpro.bundles.manifest import PROTEIN_FILE
from virnucpro.bundles.settle import settle
from virnucpro.encoders import DnabertS, Esm2, Esm2Config, Pack, pack_sequences
from virnucpro.encoders.packing import one_thread_an_operation
from virnucpro.encoders.precision import (
    _has_vnni,
    check_precision,
    dtype_of,
    int8_fault,
)
from virnucpro.encoders.six_frames import WINDOW, SixFrames, SixFramesConfig, window_tokens
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.steps import int8
from virnucpro.encoders.steps.activations import sample_dna, sample_proteins, seen_in
from virnucpro.encoders.steps.int8 import Grid, Int8Linear, Int8Norm
from virnucpro.errors import SettingsError
from virnucpro.sequences import BASE_NUMBERS
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES
from virnucpro.system import instructions as cpu_instructions
from virnucpro.system.instructions import instructions

CPU = torch.device("cpu")
#: Runs, single sequences, lengths on both sides of where attention weights are held no more.
LENGTHS = [28, 28, 3, 28, 9, 1, 600, 3, 17]
needs_products = pytest.mark.skipif(bool(int8_fault()), reason=int8_fault())


def randomised(network: nn.Module, seed: int = 5) -> nn.Module:
    """Draw weights with which attention is far from uniform and columns differ in size."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.uniform_(parameter, 0.2, 3.0)
        else:
            nn.init.normal_(parameter, std=0.3 / (1 + 2 * (parameter.dim() > 1)))
    return network.eval().requires_grad_(requires_grad=False)


def six_frames() -> SixFrames:
    network = SixFrames(SixFramesConfig(2, 64, 2, 96, head_width=32))
    randomised(network)
    return network


def protein() -> Esm2:
    network = Esm2(Esm2Config(layers=3, width=96, heads=3, vocabulary=33))
    randomised(network)
    return network


def pack_of(network: Esm2 | SixFrames, which: list[int], multiple_of: int = 1) -> Pack:
    """Return the sequences `which` of `LENGTHS`."""
    if isinstance(network, SixFrames):
        ends = WINDOW * np.cumsum([0, *LENGTHS])
        letters_N = np.random.default_rng(3).choice(np.frombuffer(b"ACGTN", np.uint8), ends[-1])
        tokens = window_tokens(letters_N, ends[:-1], ends[1:])
    else:
        tokens = tokens_of(LENGTHS, 4, 24, seed=3)
    return pack_sequences(tokens, np.array(which), multiple_of)


NETWORKS: dict[str, Callable[[], Esm2 | SixFrames]] = {
    "six frames": six_frames,
    "protein": protein,
}
ALL = list(range(len(LENGTHS)))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute as packs are computed; threads that wait for each other are slow here."""
    with one_thread_an_operation():
        yield


@pytest.fixture(scope="module", params=NETWORKS)
def exact(request: pytest.FixtureRequest) -> Esm2 | SixFrames:
    return NETWORKS[request.param]()


@pytest.fixture(scope="module")
def fast(exact: Esm2 | SixFrames) -> Esm2 | SixFrames:
    network = copy.deepcopy(exact)
    assert speed_up(network, "int8") == "8-bit products for a CPU"
    return network


# ---- values


@needs_products
@torch.inference_mode()
@pytest.mark.parametrize("multiple_of", [1, 64])
def test_means_are_nearly_those_of_plain_steps(
    exact: Esm2 | SixFrames, fast: Esm2 | SixFrames, multiple_of: int
) -> None:
    pack = pack_of(exact, ALL, multiple_of)
    if isinstance(exact, Esm2):  # whose first and last tokens do not count
        pack = pack_of(exact, [i for i in ALL if LENGTHS[i] > 2], multiple_of)
    found, expected = fast.embed(pack), exact.embed(pack)
    assert found.dtype == torch.float32
    assert 1e-5 < relative_error(found, expected) < 0.05
    for row, row_expected in zip(found, expected, strict=True):
        assert relative_error(row, row_expected) < 0.1


@needs_products
@torch.inference_mode()
def test_a_network_that_is_cut_off_gives_the_stream_with_its_mean() -> None:
    network = protein()
    network.is_whole = False
    fast = copy.deepcopy(network)
    speed_up(fast, "int8")
    pack = pack_of(network, ALL)
    expected, found = network(pack), fast(pack)
    assert expected.mean(dim=1).abs().mean() > 0.05
    assert relative_error(found, expected) < 0.05


@needs_products
def test_rounding_is_right_at_the_mean_input() -> None:
    torch.manual_seed(1)
    mean_K, linear = torch.randn(48), nn.Linear(48, 32).requires_grad_(requires_grad=False)
    rows_TK = mean_K + 0.01 * torch.randn(500, 48)
    grid = Grid(4 / 127)
    product = Int8Linear(linear.weight, linear.bias, grid, mean_K)
    bytes_TK = (rows_TK / grid.step + grid.zero).round().to(torch.uint8)
    values_TK = grid.step * (bytes_TK.float() - grid.zero)
    expected = linear(values_TK)
    with torch.inference_mode():
        found = product(bytes_TK)
    assert relative_error(found, expected) < 2e-3
    assert relative_error(found.mean(dim=0), expected.mean(dim=0)) < 2e-4
    assert torch.equal(product.add_to(torch.zeros(500, 32), bytes_TK), found)


@pytest.mark.parametrize("is_centred", [True, False])
def test_a_normalised_row_is_rounded_to_bytes(*, is_centred: bool) -> None:
    rows_TD = torch.randn(3000, 40) * torch.logspace(-2, 3, 3000)[:, None]
    rows_TD -= rows_TD.mean(dim=1, keepdim=True) if is_centred else 0
    norm, grid = nn.LayerNorm(40).requires_grad_(requires_grad=False), Grid(3 / 127)
    found = Int8Norm(norm, grid, is_centred=is_centred)(rows_TD)
    expected = norm(rows_TD).clamp(-3, 3)
    assert (grid.step * (found.float() - grid.zero) - expected).abs().max() <= 0.51 * grid.step


# ---- what the products see


def test_all_products_and_norms_are_seen() -> None:
    network = six_frames()
    seen = seen_in(network, pack_of(network, [0, 1, 2]))
    modules = [m for m in network.modules() if isinstance(m, nn.Linear | nn.LayerNorm)]
    assert set(seen) == set(modules)
    assert all(s.peak > 0 and s.mean_K.isfinite().all() for s in seen.values())


def test_sample_dna_codes_for_the_sample_proteins() -> None:
    letters_N, offsets = sample_dna()
    residues, protein_offsets = sample_proteins()
    assert offsets.tolist() == (3 * protein_offsets).tolist()
    bases_R3 = BASE_NUMBERS[letters_N].reshape(-1, 3)
    numbers_R = RESIDUE_OF_CODON[bases_R3 @ [16, 4, 1]]
    assert "".join(RESIDUES[number] for number in numbers_R) == residues.tobytes().decode()


# ---- where it is chosen


@needs_products
def test_what_each_network_gets_on_a_cpu() -> None:
    assert dtype_of("int8", CPU) == torch.float32
    assert speed_up(DnabertS(FUSABLE_DNA), "int8") == "fused steps for a CPU"
    compact, pair = (load_bundle(name) for name in ("compact", "compact-pair"))
    settled = settle("cpu", "auto", compact)
    assert (settled.device.precision, settled.device.dtype) == ("int8", torch.float32)
    assert not settled.notes
    assert settle("cpu", "fp32", compact).device.precision == "fp32"
    assert settle("cpu", "auto", pair).device.precision == "fp32"


@pytest.fixture
def without_vnni(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the CPU have no instructions for products of 8 bit."""
    int8_fault.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    yield
    int8_fault.cache_clear()


@pytest.mark.usefixtures("without_vnni")
def test_a_cpu_without_the_instructions_computes_fp32_and_says_why() -> None:
    settled = settle("cpu", "auto", load_bundle("compact"))
    assert settled.device.precision == "fp32"
    (note,) = settled.notes
    assert note.startswith("int8 does not work on this CPU: it has no instructions for them")
    with pytest.raises(SettingsError, match=r"^--precision int8 does not work .*; give fp32 or"):
        check_precision("int8", CPU)


@needs_products
def test_an_operation_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel\nat line 3")

    monkeypatch.setattr(int8, "_bytes", fail)
    with pytest.raises(SettingsError, match=r"RuntimeError: no such kernel\); give another"):
        speed_up(six_frames(), "int8")


@needs_products
def test_a_bundle_that_rounding_spoils_is_computed_in_fp32_with_a_note(tmp_path: Path) -> None:
    """Its trial fails in the worker, which `--precision auto` must not stop."""
    bundle = tmp_path / "spoilt"
    shutil.copytree(load_bundle("compact").path, bundle)
    weights = safetensors.torch.load((bundle / PROTEIN_FILE).read_bytes())
    for layer in range(4):  # a column of which the others are lost in rounding
        weights[f"windows.blocks.{layer}.up.weight"][:, 0] *= 300
    put(bundle, PROTEIN_FILE, safetensors.torch.save(weights))
    settled = settle("cpu", "auto", load_bundle(bundle))
    assert settled.device.precision == "fp32"
    (note,) = settled.notes
    assert re.match(r"int8 does not work for compact on this CPU: its result is off by 0\.", note)
    (tmp_path / "reads.fa").write_text(">read\n" + "ATGGCTGCA" * 40 + "\n")
    out = tmp_path / "out"
    summary = predict(tmp_path / "reads.fa", out, bundle=bundle, device="cpu", report=False)
    assert summary.records == 1
    assert json.loads((out / "run.json").read_text())["binding"]["precision"] == "fp32"
    with pytest.raises(SettingsError, match=r"^int8 does not work on this cpu \(not 8-bit"):
        predict(tmp_path / "reads.fa", tmp_path / "b", bundle=bundle, precision="int8")


def test_a_run_is_not_continued_with_other_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reads.fa").write_text(">read\n" + "ATGGCTGCA" * 40 + "\n")
    command = ["predict", str(tmp_path / "reads.fa"), "-o", str(tmp_path / "out"), "--no-report"]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    limited = run(*command)
    assert limited.returncode == 0, limited.stderr
    if _has_vnni():  # which oneDNN may not use
        assert "int8 does not work on this CPU: products of bytes are not exact" in limited.stderr
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    refused = run(*command)
    assert refused.returncode == 1
    assert re.search(r"device was cpu .* ONEDNN_MAX_CPU_ISA=AVX2.*, is cpu ", refused.stderr)


def test_instructions_name_what_a_cpu_has_and_what_limits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without AMX a CPU must not continue what one with it began."""
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu_instructions, "_CPUINFO", cpuinfo)
    capability = torch.backends.cpu.get_cpu_capability()
    for name in cpu_instructions._LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert instructions() == capability
    begin = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 avx512_vnni avx512_bf16"
    cpuinfo.write_text(f"{begin} amx_tile amx_int8\n\nflags\t: none\n")
    assert instructions() == f"GenuineIntel {capability} VNNI BF16 AMX"
    cpuinfo.write_text(f"{begin}\n\nflags\t: amx_tile\n")
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    assert instructions() == f"GenuineIntel {capability} VNNI BF16 MKL_CBWR=AVX2"
