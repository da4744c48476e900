"""`embed` with long records, with many records, and with failures during a run."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import virnucpro
from conftest import relative_error
from virnucpro.bundles import Bundle, load_model
from virnucpro.bundles.loading import load_encoder
from virnucpro.classify.classifier import ClassifierConfig
from virnucpro.encoders import (
    DnabertSConfig,
    Esm2,
    Esm2Config,
    Pack,
    pack_sequences,
    protein_tokens,
)
from virnucpro.encoders.pooling import Pooling
from virnucpro.encoders.steps.cpu import CpuSteps
from virnucpro.errors import InputError, SettingsError

LEAN = ClassifierConfig(
    Esm2Config(layers=2, width=32, heads=1, vocabulary=33),
    DnabertSConfig(layers=1, width=16, heads=1, feed_forward=16, vocabulary=4096),
    head_hidden=8,
)
LEAST = ClassifierConfig(
    Esm2Config(layers=1, width=8, heads=1, vocabulary=33),
    DnabertSConfig(layers=1, width=8, heads=1, feed_forward=8, vocabulary=4096),
    head_hidden=8,
)
LONG_PROTEIN = "".join(random.Random(8).choices("ACDEFGHIKLMNPQRSTVWY", k=36_000))
LONG_DNA = "".join(random.Random(9).choices("ACGT", k=100_000))
#: Says the highest resident memory of a process so far in MiB, that of its parent left out.
_PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))
"""
_ONE = (
    _PEAK
    + """
import sys, numpy, virnucpro
model, out = sys.argv[1:]
records = [("short", "ACGT" * 9), ("long", sys.stdin.read()), ("last", "ACGT" * 5)]
found = dict(virnucpro.embed_sequences(records, model=model, device="cpu"))
numpy.savez(out, **found, peak=peak())
"""
)
_MANY = """
import random, sys, psutil, virnucpro
from virnucpro.runs.job import Silence
model, path, out, count = *sys.argv[1:4], int(sys.argv[4])
draw = random.Random(1)
with open(path, "w") as file:
    for i in range(count):
        letters = draw.choices("ACDEFGHIKLMNPQRSTVWY", k=draw.randint(10, 30))
        file.write(f">s{i}\\n{''.join(letters)}\\n")

class Sampler(Silence):
    readings = []
    def advanced(self, progress):
        self.readings.append((progress.records, psutil.Process().memory_info().rss >> 20))

virnucpro.embed(path, out, model=model, file_format="npz", device="cpu", observer=Sampler())
last = psutil.Process().memory_info().rss >> 20
print(last, *(size for done, size in Sampler.readings if done >= count // 4))
"""


@pytest.fixture(scope="module")
def lean_bundle(
    make_bundle: Callable[[Path, ClassifierConfig], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("long") / "lean", LEAN)


@pytest.fixture(scope="module")
def least_bundle(
    make_bundle: Callable[[Path, ClassifierConfig], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("much") / "least", LEAST)


def embedded_elsewhere(
    model: str, letters: str, out: Path, meanwhile: Callable[[], Tensor | None]
) -> tuple[dict[str, NDArray[np.float32]], int, Tensor | None]:
    """Embed a long record between short ones in a process of its own.

    Returns:
        the vectors, the highest resident memory in MiB, and what was computed meanwhile.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _ONE, model, str(out)],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(letters)
    process.stdin.close()
    process.stdin = None
    expected = meanwhile()
    _, said = process.communicate()
    assert process.returncode == 0, said
    with np.load(out) as file:
        found = dict(file)
    return found, int(found.pop("peak")), expected


def test_a_protein_of_36000_residues_needs_little_memory(
    lean_bundle: Bundle, tmp_path: Path
) -> None:
    model = f"{lean_bundle.path}:protein"

    @torch.inference_mode()
    def plain() -> Tensor:
        network = load_encoder(load_model(model).stored, torch.device("cpu"), torch.float32)
        residues = np.frombuffer(LONG_PROTEIN.encode(), np.uint8)
        tokens = protein_tokens(residues, np.array([0, len(residues)]))
        return network.embed(pack_sequences(tokens, np.array([0])))[0]

    found, peak, expected = embedded_elsewhere(model, LONG_PROTEIN, tmp_path / "out.npz", plain)
    assert expected is not None
    assert relative_error(torch.from_numpy(found["long"]), expected) < 1e-5
    assert all(np.isfinite(values).all() for values in found.values())
    assert peak < 1536


def test_dna_of_100000_bases_needs_little_memory(lean_bundle: Bundle, tmp_path: Path) -> None:
    model = f"{lean_bundle.path}:dna"
    short = [("short", "ACGT" * 9), ("last", "ACGT" * 5)]
    found, peak, _ = embedded_elsewhere(model, LONG_DNA, tmp_path / "out.npz", lambda: None)
    assert found["long"].shape == (16,)
    assert np.isfinite(found["long"]).all()
    for name, values in virnucpro.embed_sequences(short, model=model, device="cpu"):
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)
    assert peak < 2048


def test_memory_does_not_grow_with_the_number_of_sequences(
    least_bundle: Bundle, tmp_path: Path
) -> None:
    places = [f"{least_bundle.path}:protein", str(tmp_path / "many.fa"), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", _MANY, *places, "200000"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last, first, *rest = map(int, done.stdout.split())
    assert len(rest) > 8
    assert max(last, *rest) - first < 60


RECORDS = [
    (f"r{i}", "".join(random.Random(i).choices("ACDEFGHIKLMNPQRSTVWY", k=length)))
    for i, length in enumerate([20, 3000, 37, 900, 2000, 5, 37, 1500, 60])
]


def written(directory: Path) -> Path:
    path = directory / "records.fa"
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters in RECORDS))
    return path


def values_in(out: Path) -> dict[str, NDArray[np.floating[Any]]]:
    return dict(virnucpro.read_embeddings(out))


def assert_close(
    found: dict[str, NDArray[np.floating[Any]]], expected: dict[str, NDArray[np.floating[Any]]]
) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)


def change_forward(
    patched: pytest.MonkeyPatch, change: Callable[[Esm2, Pack, Tensor], Tensor]
) -> None:
    """Pass the hidden states of every ESM-2 through a function."""
    forward = Esm2.forward
    patched.setattr(Esm2, "forward", lambda self, pack: change(self, pack, forward(self, pack)))


@pytest.mark.parametrize("pooling", ["mean", "cls", "tokens"])
def test_records_that_need_too_much_memory_are_named_and_the_rest_is_right(
    protein: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: Pooling
) -> None:
    path = written(tmp_path)
    virnucpro.embed(path, tmp_path / "whole", model=protein, pooling=pooling, device="cpu")
    expected = values_in(tmp_path / "whole")
    computed: list[int] = []

    def refuse(_: Esm2, pack: Pack, hidden_TD: Tensor) -> Tensor:
        if pack.longest > 1600:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        computed.extend(pack.cu_seqlens.diff().tolist())
        return hidden_TD

    change_forward(monkeypatch, refuse)
    out = tmp_path / "out"
    summary = virnucpro.embed(path, out, model=protein, pooling=pooling, device="cpu")
    assert (summary.records, summary.embedded) == (9, 7)
    assert computed.count(20 + 2) == 1  # a length that the trial has none of
    message = "letters need more memory than the device has; embed it on a larger one"
    assert len(summary.problems) == 2
    for problem, said in zip(summary.problems, ("2 (r1): 3,000 ", "5 (r4): 2,000 "), strict=True):
        assert f"record {said}{message}" in problem
    assert_close(values_in(out), {k: v for k, v in expected.items() if k not in ("r1", "r4")})
    with pytest.raises(InputError, match=r"record 2 \(r1\): 3,000 letters need more memory"):
        list(virnucpro.embed_sequences(RECORDS, model=protein, pooling=pooling, device="cpu"))


def test_a_block_of_nothing_but_too_long_records(
    protein: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Esm2, pack: Pack, hidden_TD: Tensor) -> Tensor:
        if pack.longest > 1600:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return hidden_TD

    path, out = tmp_path / "long.fa", tmp_path / "out"
    path.write_text(f">a\n{'M' * 1700}\n>b\n{'M' * 1701}\n")
    change_forward(monkeypatch, refuse)
    summary = virnucpro.embed(path, out, model=protein, device="cpu")
    assert (summary.records, summary.embedded, len(summary.problems)) == (2, 0, 2)
    assert values_in(out) == {}


@pytest.mark.parametrize("pooling", ["mean", "cls", "tokens"])
def test_a_pass_that_needs_too_much_memory_is_done_in_two(
    protein: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: Pooling
) -> None:
    path = written(tmp_path)
    virnucpro.embed(path, tmp_path / "whole", model=protein, pooling=pooling, device="cpu")

    def refuse(_: Esm2, pack: Pack, hidden_TD: Tensor) -> Tensor:
        if pack.sequences > 2 and 5 + 2 in pack.cu_seqlens.diff():  # the trial has none of these
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return hidden_TD

    change_forward(monkeypatch, refuse)
    out = tmp_path / "out"
    summary = virnucpro.embed(path, out, model=protein, pooling=pooling, device="cpu")
    assert summary.packs_cut >= 1
    assert (summary.embedded, summary.problems) == (9, [])
    assert_close(values_in(out), values_in(tmp_path / "whole"))


def with_nan(pack: Pack, hidden_TD: Tensor) -> Tensor:
    """Set the last residue of proteins of 37 residues to NaN; the trial has no such protein."""
    ends_S, lengths_S = pack.cu_seqlens[1:].long(), pack.cu_seqlens.diff()
    hidden_TD = hidden_TD.clone()
    hidden_TD[ends_S[lengths_S == 37 + 2] - 2] = torch.nan
    return hidden_TD


@pytest.mark.parametrize("pooling", ["mean", "tokens"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_vectors_that_are_not_finite_are_recomputed_in_fp32(
    protein: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: Pooling, dtype: str
) -> None:
    path = written(tmp_path)
    virnucpro.embed(path, tmp_path / "whole", model=protein, pooling=pooling, device="cpu")
    expected = values_in(tmp_path / "whole")
    change_forward(
        monkeypatch,
        lambda network, pack, hidden_TD: (
            with_nan(pack, hidden_TD) if isinstance(network.steps, CpuSteps) else hidden_TD
        ),
    )
    out = tmp_path / "out"
    summary = virnucpro.embed(
        path, out, model=protein, pooling=pooling, dtype=dtype, device="cpu"
    )  # fmt: skip
    assert summary.sequences_redone == 2
    assert (summary.embedded, summary.problems) == (9, [])
    found = values_in(out)
    if dtype == "fp32":
        assert_close(found, expected)
    for name, values in expected.items():
        assert found[name].dtype == np.dtype("float32" if dtype == "fp32" else "float16")
        np.testing.assert_allclose(found[name], values, rtol=2e-3, atol=2e-3)


def test_vectors_that_are_not_finite_in_fp32_either_end_the_run_in_one_line(
    protein: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_forward(monkeypatch, lambda _, pack, hidden_TD: with_nan(pack, hidden_TD))
    with pytest.raises(SettingsError, match="are not finite in fp32") as error:
        virnucpro.embed(written(tmp_path), tmp_path / "out", model=protein, device="cpu")
    assert "\n" not in str(error.value)


def test_numbers_too_large_for_half_precision_end_the_run_with_what_to_type(
    protein: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_forward(monkeypatch, lambda _, __, hidden_TD: hidden_TD * 1e6)
    path = written(tmp_path)
    with pytest.raises(SettingsError, match="give --dtype fp32"):
        virnucpro.embed(path, tmp_path / "half", model=protein, dtype="fp16", device="cpu")
    summary = virnucpro.embed(path, tmp_path / "single", model=protein, device="cpu")
    assert (summary.embedded, summary.sequences_redone) == (9, 0)
