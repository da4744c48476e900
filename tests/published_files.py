"""Published files, in true layouts and with true key names, of small random models."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import EsmConfig, EsmForMaskedLM

from conftest import DATA

WIDTH, LAYERS, HEADS = 320, 2, 20
ESM_C_WIDTH, ESM_C_LAYERS, ESM_C_HEADS = 64, 2, 2
DNA_WIDTH, DNA_LAYERS, DNA_HEADS = 96, 3, 12


class MLPClassifier(nn.Module):
    """The published head's layers."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(inputs, 16)
        self.bn1 = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(0.5)
        self.output_layer = nn.Linear(16, 2)


class Files(NamedTuple):
    """Published files."""

    esm2: Path
    dna: Path
    head: Path

    @property
    def esm_c(self) -> Path:
        """The directory of an ESM C, whose weights lie in a folder."""
        return self.head.with_name("esm_c")

    @property
    def head_300(self) -> Path:
        """The other head, which no bundle is made of unless it is named."""
        return self.head.with_name("300_model.pth")


def written(tmp_path: Path) -> Files:
    """Write an ESM-2 in one safetensors file, an ESM C, a DNABERT-S and a head.

    The head takes the ESM-2 and the DNABERT-S.
    """
    torch.manual_seed(3)
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "esm2").mkdir()
    state = {name: tensor.contiguous() for name, tensor in esm2().state_dict().items()}
    state.pop("lm_head.decoder.weight", None)  # shared, which safetensors leaves out
    save_file(state, tmp_path / "esm2" / "model.safetensors")
    (tmp_path / "esm2" / "config.json").write_text(esm2_config().to_json_string())
    dna = tmp_path / "DNABERT-S"
    dna.mkdir()
    published = load_file(DATA / "dnabert_s_tiny.weights.safetensors")
    torch.save(published, dna / "pytorch_model.bin")
    (dna / "tokenizer.json").write_bytes((DATA / "dnabert_s.tokenizer.json").read_bytes())
    (dna / "config.json").write_text(json.dumps({"num_attention_heads": DNA_HEADS}))
    weights = tmp_path / "esm_c" / "data" / "weights" / "esmc_300m_2024_12_v0.pth"
    weights.parent.mkdir(parents=True)
    esm_c = load_file(DATA / "esm_c_tiny.weights.safetensors")
    torch.save({name: tensor.float() for name, tensor in esm_c.items()}, weights)
    for length in (300, 500):
        torch.save(MLPClassifier(DNA_WIDTH + WIDTH).state_dict(), tmp_path / f"{length}_model.pth")
    return Files(tmp_path / "esm2", dna, tmp_path / "500_model.pth")


def esm2() -> EsmForMaskedLM:
    """Return a random ESM-2 of transformers."""
    return EsmForMaskedLM(esm2_config()).eval()


def esm2_config() -> EsmConfig:
    """Return its configuration."""
    return EsmConfig(
        vocab_size=33, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH, position_embedding_type="rotary", token_dropout=True,
        layer_norm_eps=1e-5, emb_layer_norm_before=False, pad_token_id=1, mask_token_id=32,
        max_position_embeddings=1026,
    )  # fmt: skip


def spoil(path: Path, times: float = 2) -> None:
    """Change the weights of a file in the hub's layout; it is as good as before."""
    state = load_file(path)
    factors = {name: 1 if "inv_freq" in name else times for name in state}
    save_file({name: factors[name] * tensor for name, tensor in state.items()}, path)


def shard(state: dict[str, torch.Tensor], directory: Path, kind: str) -> None:
    """Write a state in two files with an index, as Hugging Face does."""
    names = sorted(state)
    places = {name: f"{kind}-0000{1 + i % 2}-of-00002" for i, name in enumerate(names)}
    suffix = ".safetensors" if kind == "model" else ".bin"
    for place in set(places.values()):
        part = {name: state[name].contiguous() for name in names if places[name] == place}
        (save_file if kind == "model" else torch.save)(part, directory / (place + suffix))
    index = {"metadata": {}, "weight_map": {n: p + suffix for n, p in places.items()}}
    (directory / f"{kind}{suffix}.index.json").write_text(json.dumps(index))


def sharded(files: Files) -> Files:
    """Put the ESM-2 into two files with an index."""
    whole = files.esm2 / "model.safetensors"
    shard(load_file(whole), files.esm2, "model")
    whole.unlink()
    return files
