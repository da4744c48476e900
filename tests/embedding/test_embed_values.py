"""Vectors of `embed`, compared to transformers and the published DNABERT-S on equal weights."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from esm.data import Alphabet
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import EsmForMaskedLM

import virnucpro
from conftest import DATA, relative_error
from published_files import (
    DNA_HEADS,
    DNA_LAYERS,
    DNA_WIDTH,
    ESM_C_HEADS,
    ESM_C_LAYERS,
    ESM_C_WIDTH,
    LAYERS,
    esm2,
    written,
)
from virnucpro.bundles.assemble import add_encoder
from virnucpro.bundles.registry import ENCODERS
from virnucpro.encoders import DnabertS, DnabertSConfig, Tokens, pack_sequences
from virnucpro.encoders.dnabert_s import fuse_published
from virnucpro.encoders.pooling import Pooling

BOUND = 1e-5
RESIDUES = list("ACDEFGHIKLMNPQRSTVWY")
_random = np.random.default_rng(4)
_LONG = ["".join(_random.choice(RESIDUES, size=n)) for n in (400, 2500, 35, 35)]
#: As given, and as they are read; ids come twice, and words behind them are no part of them.
PROTEINS = [
    ("one", "M", "M"),
    ("lower some words", "mkVlaagwty", "MKVLAAGWTY"),
    ("rare", "MXBUZOX", "MXBUZOX"),
    ("stop", "MKLAV*", "MKLAV"),
    ("stops", "MK*LAV**", "MK*LAV*"),
    ("gaps", "-MK-L.AV-", "-MK-L.AV-"),
    ("unknown", "MJKJJLj", "MJKJJLJ"),
    ("long", _LONG[0], _LONG[0]),
    ("longer than a pass", _LONG[1], _LONG[1]),
    ("one", _LONG[2], _LONG[2]),
    ("alike", _LONG[3], _LONG[3]),
]
ESM_C_PROTEINS = json.loads((DATA / "esm_c_tiny.json").read_text())["proteins"]
DESCRIBED = json.loads((DATA / "dnabert_s_tiny.json").read_text())
#: The last has letters that are read as they are not given: capitals.
DNA: list[str] = DESCRIBED["sequences"][:-1]

Values = list[NDArray[np.floating[Any]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep added encoders in a directory of these tests."""
    directory = tmp_path_factory.mktemp("values")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VIRNUCPRO_HOME", str(directory / "models"))
        yield directory


@pytest.fixture(scope="module")
def reference() -> EsmForMaskedLM:
    """Return an ESM-2 of transformers whose attention is far from uniform."""
    torch.manual_seed(6)
    model = esm2()
    for name, parameter in model.named_parameters():
        is_scale = "layer_norm" in name.lower() and name.endswith("weight")
        nn.init.normal_(parameter, mean=float(is_scale), std=0.1)
    return model


@pytest.fixture(scope="module")
def protein_model(home: Path, reference: EsmForMaskedLM) -> str:
    state = dict(reference.state_dict())
    state.pop("lm_head.decoder.weight", None)
    (home / "esm2").mkdir()
    contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(contiguous, home / "esm2" / "model.safetensors")
    add_encoder("esm2-small", home / "esm2")
    return "esm2-small"


@pytest.fixture(scope="module")
def dna_model(home: Path) -> str:
    add_encoder("dnabert-small", written(home / "published").dna)
    return "dnabert-small"


@pytest.fixture(scope="module")
def esm_c_model(home: Path) -> str:
    small = ENCODERS["esmc-300m"]._replace(
        layers=ESM_C_LAYERS, width=ESM_C_WIDTH, heads=ESM_C_HEADS
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ENCODERS, "esmc-300m", small)
        add_encoder("esmc-300m", written(home / "of-esm-c").esm_c)
    return "esmc-300m"


@pytest.fixture(scope="module")
def protein_states(reference: EsmForMaskedLM) -> list[list[Tensor]]:
    """Return the hidden states of each protein by transformers, the embedding first."""
    alphabet = Alphabet.from_architecture("ESM-1b")
    states = []
    for _, _, residues in PROTEINS:
        ids = [alphabet.cls_idx, *map(alphabet.get_idx, residues), alphabet.eos_idx]
        with torch.inference_mode():
            found = reference.esm(torch.tensor([ids]), output_hidden_states=True)
        torch.testing.assert_close(found.hidden_states[-1], found.last_hidden_state)
        states.append([hidden[0] for hidden in found.hidden_states])
    return states


def embedded(path: Path, out: Path, ids: list[str], **settings: Any) -> Values:  # noqa: ANN401
    """Embed a file, and check the written ids."""
    summary = virnucpro.embed(path, out, device="cpu", **settings)
    assert summary.embedded == summary.records == len(ids)
    found = list(virnucpro.read_embeddings(out))
    assert [id_ for id_, _ in found] == ids
    return [values for _, values in found]


def assert_close(found: Values, expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape
        assert relative_error(torch.from_numpy(ours), theirs) < BOUND


#: What is left of a sequence's hidden states, the special tokens at both ends included.
PROTEIN_POOLING: dict[Pooling, Callable[[Tensor], Tensor]] = {
    "mean": lambda hidden: hidden[1:-1].mean(dim=0),
    "cls": lambda hidden: hidden[0],
    "tokens": lambda hidden: hidden[1:-1],
}
DNA_POOLING: dict[Pooling, Callable[[Tensor], Tensor]] = {
    **PROTEIN_POOLING,
    "mean": lambda hidden: hidden.mean(dim=0),
}


@pytest.mark.parametrize("pooling", PROTEIN_POOLING)
@pytest.mark.parametrize("layer", [*range(1, LAYERS), None])
def test_proteins_are_as_in_transformers(
    protein_model: str,
    protein_states: list[list[Tensor]],
    tmp_path: Path,
    layer: int | None,
    pooling: Pooling,
) -> None:
    path = tmp_path / "proteins.fa"
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters, _ in PROTEINS))
    ids = [name.split()[0] for name, _, _ in PROTEINS]
    out = tmp_path / "out"
    found = embedded(path, out, ids, model=protein_model, layer=layer, pooling=pooling)
    left, index = PROTEIN_POOLING[pooling], LAYERS if layer is None else layer
    assert_close(found, [left(states[index]) for states in protein_states])


@pytest.mark.parametrize(("layer", "pooling"), [(None, "mean"), (1, "tokens")])
def test_proteins_are_as_in_the_package_esm(
    esm_c_model: str, tmp_path: Path, layer: int | None, pooling: Pooling
) -> None:
    path = tmp_path / "proteins.fa"
    path.write_text("".join(f">{i}\n{letters}\n" for i, letters in enumerate(ESM_C_PROTEINS)))
    ids = [str(i) for i in range(len(ESM_C_PROTEINS))]
    out = tmp_path / "out"
    found = embedded(path, out, ids, model=esm_c_model, layer=layer, pooling=pooling)
    outputs = load_file(DATA / "esm_c_tiny.outputs.safetensors")
    kind, left = "hidden" if layer is None else "first", PROTEIN_POOLING[pooling]
    assert_close(found, [left(outputs[f"{i}.{kind}"]) for i in ids])


def test_each_letter_between_the_ends_has_a_row(protein_model: str, tmp_path: Path) -> None:
    path = tmp_path / "proteins.fa"
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters, _ in PROTEINS))
    virnucpro.embed(path, tmp_path / "out", model=protein_model, pooling="tokens", device="cpu")
    rows = [len(values) for _, values in virnucpro.read_embeddings(tmp_path / "out")]
    assert rows == [len(residues) for _, _, residues in PROTEINS]


def dna_file(path: Path) -> list[str]:
    """Write the sequences of the published outputs, some in lower case; return their ids."""
    ids = [f"s{i}" for i in range(len(DNA))]
    cased = [letters.lower() if i % 3 == 1 else letters for i, letters in enumerate(DNA)]
    path.write_text("".join(f">{i}\n{s}\n" for i, s in zip(ids, cased, strict=True)))
    return ids


@pytest.mark.parametrize("pooling", DNA_POOLING)
def test_dna_is_as_the_published_code_computes_it(
    dna_model: str, tmp_path: Path, pooling: Pooling
) -> None:
    path = tmp_path / "dna.fa"
    ids = dna_file(path)
    out = tmp_path / "out"
    found = embedded(path, out, ids, model=dna_model, layer=DNA_LAYERS, pooling=pooling)
    outputs = load_file(DATA / "dnabert_s_tiny.outputs.safetensors")
    expected = [DNA_POOLING[pooling](outputs[f"{i}.hidden"]) for i in range(len(ids))]
    if pooling == "mean":
        assert_close(found, [outputs[f"{i}.mean"] for i in range(len(ids))])
    assert_close(found, expected)


@pytest.mark.parametrize("layer", range(1, DNA_LAYERS))
def test_an_earlier_layer_of_dna_is_that_of_a_network_without_those_behind(
    dna_model: str, tmp_path: Path, layer: int
) -> None:
    path = tmp_path / "dna.fa"
    ids = dna_file(path)
    found = embedded(path, tmp_path / "out", ids, model=dna_model, layer=layer, pooling="tokens")
    state = fuse_published(load_file(DATA / "dnabert_s_tiny.weights.safetensors"))
    shorter = DnabertS(
        DnabertSConfig(layer, DNA_WIDTH, DNA_HEADS, 2 * DNA_WIDTH, vocabulary=4096)
    ).eval()
    shorter.load_state_dict({name: state[name] for name in shorter.state_dict()})
    outputs = load_file(DATA / "dnabert_s_tiny.outputs.safetensors")
    expected = []
    for i in range(len(ids)):
        tokens = outputs[f"{i}.ids"].numpy()
        pack = pack_sequences(Tokens(tokens, np.array([0, len(tokens)])), np.array([0]))
        with torch.inference_mode():
            expected.append(shorter(pack)[1:-1])
    assert_close(found, expected)
