"""Random checkpoints of true size, in published layouts and under published names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

TOKENIZER = Path(__file__).parents[1] / "tests" / "data" / "dnabert_s.tokenizer.json"
_DNA_WIDTH, _DNA_LAYERS, _DNA_FEED_FORWARD, _HIDDEN = 768, 12, 3072, 512
#: Bytes of a file of a checkpoint in several.
_FILE_BYTES = 5 << 30
_VOCABULARY = 33


class Size(NamedTuple):
    """Sizes of an ESM-2 or ESM C."""

    layers: int
    width: int
    heads: int


#: `tiny` is none of the published ones: it leaves the host's side of a run.
SIZES = {
    "tiny": Size(2, 64, 2),
    "8M": Size(6, 320, 20),
    "35M": Size(12, 480, 20),
    "150M": Size(30, 640, 20),
    "650M": Size(33, 1280, 20),
    "3B": Size(36, 2560, 40),
    "15B": Size(48, 5120, 40),
}
#: Sizes of ESM C by their published names.
ESM_C_SIZES = {"esmc-300m": Size(30, 960, 15), "esmc-600m": Size(36, 1152, 18)}
_TRANSFORMERS = (
    "attention.self.query", "attention.self.key", "attention.self.value",
    "attention.output.dense", "attention.LayerNorm", "LayerNorm", "intermediate.dense",
    "output.dense",
)  # fmt: skip
_FAIR_ESM = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
    "self_attn_layer_norm", "final_layer_norm", "fc1", "fc2",
)  # fmt: skip


def write_transformers(directory: Path, size: Size) -> None:
    """Write an ESM-2 as Hugging Face has it: fp32, several .bin files and an index."""
    directory.mkdir(parents=True)
    prefix = "esm.encoder.layer.{}."
    outside = {
        "esm.embeddings.word_embeddings.weight": (_VOCABULARY, size.width),
        "esm.encoder.emb_layer_norm_after.weight": (size.width,),
        "esm.encoder.emb_layer_norm_after.bias": (size.width,),
        "lm_head.dense.weight": (size.width, size.width),
        "lm_head.bias": (_VOCABULARY,),
    }
    places: dict[str, str] = {}
    part: dict[str, Tensor] = {}
    held, files = 0, 0
    for name, tensor in _tensors(size, prefix, _TRANSFORMERS, outside):
        part[name] = tensor.float()
        held += part[name].nbytes
        if held >= _FILE_BYTES:
            places |= _save(directory, part, files)
            part, held, files = {}, 0, files + 1
    places |= _save(directory, part, files)
    index = {"metadata": {}, "weight_map": places}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text(json.dumps({"num_attention_heads": size.heads}))


def write_fair_esm(path: Path, size: Size) -> None:
    """Write an ESM-2 as fair-esm has it: fp16, one .pt file."""
    prefix = "encoder.sentence_encoder.layers.{}."
    outside = {
        "encoder.sentence_encoder.embed_tokens.weight": (_VOCABULARY, size.width),
        "encoder.sentence_encoder.emb_layer_norm_after.weight": (size.width,),
        "encoder.sentence_encoder.emb_layer_norm_after.bias": (size.width,),
    }
    state = dict(_tensors(size, prefix, _FAIR_ESM, outside))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state}, path)


def write_esm_c(path: Path, size: Size) -> None:
    """Write an ESM C as its repository has it: fp32, one .pth file."""
    width, feed = size.width, feed_forward(size.width)
    block = {
        "attn.layernorm_qkv.0.weight": (width,),
        "attn.layernorm_qkv.0.bias": (width,),
        "attn.layernorm_qkv.1.weight": (3 * width, width),
        "attn.q_ln.weight": (width,),
        "attn.k_ln.weight": (width,),
        "attn.out_proj.weight": (width, width),
        "ffn.0.weight": (width,),
        "ffn.0.bias": (width,),
        "ffn.1.weight": (2 * feed, width),
        "ffn.3.weight": (width, feed),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embed.weight": (64, width),
        "transformer.norm.weight": (width,),
        "sequence_head.0.weight": (width, width),
        "sequence_head.0.bias": (width,),
        "sequence_head.2.weight": (width,),
        "sequence_head.2.bias": (width,),
        "sequence_head.3.weight": (64, width),
        "sequence_head.3.bias": (64,),
    }
    for layer in range(size.layers):
        shapes |= {f"transformer.blocks.{layer}.{name}": shape for name, shape in block.items()}
    is_gain = {name for name, shape in shapes.items() if len(shape) == 1 and "weight" in name}
    state = {x: torch.ones(s) if x in is_gain else _random(s) for x, s in shapes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)


def feed_forward(width: int) -> int:
    """Return the width after the gate of an ESM C: 8/3 D, up to a multiple of 256."""
    return -(-8 * width // (3 * 256)) * 256


def write_dnabert_s(directory: Path) -> None:
    """Write a DNABERT-S as Hugging Face has it: one .bin file, and the tokenizer."""
    width, feed = _DNA_WIDTH, _DNA_FEED_FORWARD
    block = {
        "attention.self.Wqkv.weight": (3 * width, width),
        "attention.self.Wqkv.bias": (3 * width,),
        "attention.output.dense.weight": (width, width),
        "attention.output.dense.bias": (width,),
        "mlp.gated_layers.weight": (2 * feed, width),
        "mlp.wo.weight": (width, feed),
        "mlp.wo.bias": (width,),
        **{f"{norm}.{x}": (width,) for norm in _DNA_NORMS for x in ("weight", "bias")},
    }
    state = {
        "bert.embeddings.word_embeddings.weight": _random((4096, width)),
        "bert.embeddings.token_type_embeddings.weight": _random((2, width)),
        "bert.embeddings.LayerNorm.weight": torch.ones(width),
        "bert.embeddings.LayerNorm.bias": torch.zeros(width),
    }
    for layer in range(_DNA_LAYERS):
        for name, shape in block.items():
            values = torch.ones(shape) if _is_norm_weight(name) else _random(shape)
            state[f"bert.encoder.layer.{layer}.{name}"] = values
    directory.mkdir(parents=True)
    torch.save(state, directory / "pytorch_model.bin")
    (directory / "config.json").write_text(json.dumps({"num_attention_heads": 12}))
    (directory / "tokenizer.json").write_bytes(TOKENIZER.read_bytes())


_DNA_NORMS = ("attention.output.LayerNorm", "mlp.layernorm")


def write_head(path: Path, size: Size) -> None:
    """Write a head's weights."""
    head = torch.nn.Module()
    head.hidden_layer = torch.nn.Linear(_DNA_WIDTH + size.width, _HIDDEN)
    head.bn1 = torch.nn.BatchNorm1d(_HIDDEN)
    head.output_layer = torch.nn.Linear(_HIDDEN, 2)
    torch.save(head.state_dict(), path)


def _tensors(
    size: Size, prefix: str, names: tuple[str, ...], outside: dict[str, tuple[int, ...]]
) -> Iterator[tuple[str, Tensor]]:
    """Yield names and random values, fp16."""
    for name, shape in outside.items():
        yield name, torch.ones(shape).half() if _is_norm_weight(name) else _random(shape).half()
    width = size.width
    *square, norm, last_norm, up, down = names
    shapes = dict.fromkeys(square, (width, width)) | {up: (4 * width, width)}
    shapes[down] = (width, 4 * width)
    for layer in range(size.layers):
        for name, shape in shapes.items():
            yield f"{prefix.format(layer)}{name}.weight", _random(shape).half()
            yield f"{prefix.format(layer)}{name}.bias", _random(shape[:1]).half()
        for name in (norm, last_norm):
            yield f"{prefix.format(layer)}{name}.weight", torch.ones(width).half()
            yield f"{prefix.format(layer)}{name}.bias", torch.zeros(width).half()


def _is_norm_weight(name: str) -> bool:
    return "norm" in name.lower() and name.endswith("weight")


def _random(shape: tuple[int, ...]) -> Tensor:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return (0.02 * torch.randn(shape, device=device)).cpu()


def _save(directory: Path, part: dict[str, Tensor], number: int) -> dict[str, str]:
    file = f"pytorch_model-{number + 1:05d}.bin"
    torch.save(part, directory / file)
    return dict.fromkeys(part, file)
