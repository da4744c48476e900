"""Published files of small random models, and what others' code computes with them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from conftest import DATA
from published_files import (
    DNA_LAYERS,
    DNA_WIDTH,
    LAYERS,
    WIDTH,
    Files,
    MLPClassifier,
    esm2,
    written,
)
from virnucpro.encoders.tokens import ESM2_VOCABULARY

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
ESM2, DNA, HEAD = "small-esm2", "small-dna", "500_model.pth"
#: What the head's last layer is multiplied by.
SPREAD = 8


class Made(NamedTuple):
    """Files to make a bundle of, and the directory of what they should give."""

    files: Files
    reference: Path


def made(directory: Path) -> Made:
    """Write files and reference; the DNABERT-S and its means are the published code's."""
    files = written(directory / "published")
    random = np.random.default_rng(4)
    network, head = _drawn(esm2()), _drawn(MLPClassifier(DNA_WIDTH + WIDTH))
    state = {k: t.contiguous() for k, t in network.state_dict().items()}
    state.pop("lm_head.decoder.weight", None)
    save_file(state, files.esm2 / "model.safetensors")

    dna = json.loads((DATA / "dnabert_s_tiny.json").read_text())["sequences"]
    outputs = load_file(DATA / "dnabert_s_tiny.outputs.safetensors")
    dna_SD = torch.stack([outputs[f"{i}.mean"] for i in range(len(dna))])
    proteins, of_frames = (
        ["".join(random.choice(list(RESIDUES), size=n)) for n in lengths]
        for lengths in ((61, 29, 13), random.integers(1, 166, len(dna)))
    )
    states = [_hidden_states(network, protein) for protein in proteins]
    protein_SD = torch.stack([_hidden_states(network, x)[1:-1].mean(dim=0) for x in of_frames])
    _spread_scores(head, torch.cat([dna_SD, protein_SD], dim=1))
    torch.save(head.state_dict(), files.head)
    scores_S2 = torch.softmax(_logits(head, torch.cat([dna_SD, protein_SD], dim=1)), dim=1)

    reference = directory / "reference"
    reference.mkdir()
    tensors = {
        f"{ESM2}.hidden_states": torch.cat(states).bfloat16().float(),
        f"{ESM2}.means": protein_SD,
        f"{DNA}.means": dna_SD,
    }
    save_file(tensors, reference / "reference.safetensors")
    frames = [
        {"id": f"frame{i}", "dna": d, "protein": p, "call": call, "p_virus": score}
        for i, (d, p, score) in enumerate(
            zip(dna, of_frames, scores_S2[:, 1].tolist(), strict=True)
        )
        for call in ["virus" if score > 0.5 else "other"]
    ]
    content = {
        "format": 1,
        "encoders": [
            {"name": ESM2, "kind": "protein", "layers": LAYERS, "width": WIDTH},
            {"name": DNA, "kind": "dna", "layers": DNA_LAYERS, "width": DNA_WIDTH},
        ],
        "proteins": {"encoders": [ESM2], "sequences": proteins},
        "frames": {
            "protein": ESM2, "dna": DNA, "head": HEAD, "chunk_length": 500, "frames": frames,
        },
    }  # fmt: skip
    (reference / "reference.json").write_text(json.dumps(content))
    return Made(files, reference)


def change_esm2(files: Files, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> None:
    """Write the ESM-2 anew with other weights."""
    path = files.esm2 / "model.safetensors"
    save_file(dict(change(load_file(path))), path)


def _drawn(network: nn.Module) -> nn.Module:
    """Draw weights large enough that attention is far from uniform and scores from one half."""
    torch.manual_seed(5)
    for name, parameter in network.named_parameters():
        is_norm = "LayerNorm" in name or "layer_norm" in name or "bn1" in name
        mean = float(is_norm and name.endswith("weight"))
        nn.init.normal_(parameter, mean, std=1 if "word_embeddings" in name else 0.1)
    return network.eval()


@torch.no_grad()
def _hidden_states(network: nn.Module, protein: str) -> Tensor:
    ids = torch.tensor([[0, *map(ESM2_VOCABULARY.index, protein), 2]])
    states: Tensor = network.get_submodule("esm")(ids, torch.ones_like(ids)).last_hidden_state
    return states[0]


@torch.no_grad()
def _logits(head: nn.Module, embedding_SD: Tensor) -> Tensor:
    first, norm, last = (head.get_submodule(x) for x in ("hidden_layer", "bn1", "output_layer"))
    logits: Tensor = last(torch.relu(norm(first(embedding_SD))))
    return logits


@torch.no_grad()
def _spread_scores(head: nn.Module, embedding_SD: Tensor) -> None:
    """Change the last layer so that scores lie on both sides of one half, and far from it."""
    last = head.get_submodule("output_layer")
    for parameter in last.parameters():
        parameter.mul_(SPREAD)
    last.get_parameter("bias").sub_(_logits(head, embedding_SD).median(dim=0).values)
