"""Checkpoints that resemble ESM-2: named as what they are, refused, and not left installed.

The stand-ins are small networks of transformers and fair-esm, with the tensors' true names.
"""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from esm.data import Alphabet
from esm.model.esm1 import ProteinBertModel
from esm.model.esm2 import ESM2
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, EsmForMaskedLM

from conftest import DATA
from published_files import (
    DNA_HEADS,
    DNA_LAYERS,
    DNA_WIDTH,
    HEADS,
    LAYERS,
    WIDTH,
    Files,
    esm2_config,
)
from virnucpro.bundles.assemble import add_encoder
from virnucpro.bundles.bundle_files import read_manifest
from virnucpro.bundles.manifest import PROTEIN_FILE
from virnucpro.errors import BundleError

State = dict[str, Tensor]


def transformers(directory: Path, *, with_config: bool = True, **changed: Any) -> Path:  # noqa: ANN401
    """Write a network of transformers' ESM family whose configuration differs from ESM-2's."""
    config = esm2_config()
    for key, value in changed.items():
        setattr(config, key, value)
    network = EsmForMaskedLM(config)
    directory.mkdir()
    state = {k: t.contiguous() for k, t in network.state_dict().items()}
    state.pop("lm_head.decoder.weight", None)
    save_file(state, directory / "model.safetensors")
    if with_config:
        (directory / "config.json").write_text(config.to_json_string())
    return directory


def fair_esm(path: Path, *, norm_before: bool) -> Path:
    """Write an ESM-1b or ESM-1v as fair-esm has them."""
    args = Namespace(
        arch="roberta_large", layers=LAYERS, embed_dim=WIDTH, ffn_embed_dim=4 * WIDTH,
        attention_heads=HEADS, max_positions=50, emb_layer_norm_before=norm_before,
        token_dropout=True, logit_bias=False, final_bias=True,
    )  # fmt: skip
    state = ProteinBertModel(args, Alphabet.from_architecture("ESM-1b")).state_dict()
    model = {f"encoder.sentence_encoder.{name}": tensor for name, tensor in state.items()}
    torch.save({"args": args, "model": model}, path)
    return path


def bert(directory: Path) -> Path:
    """Write a BERT of four-letter words, as DNABERT is one."""
    config = BertConfig(
        vocab_size=4101, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48,
    )  # fmt: skip
    directory.mkdir()
    BertForMaskedLM(config).save_pretrained(directory)
    return directory


def esm3(path: Path) -> Path:
    """Write the weights of an ESM C with one tensor of an ESM3."""
    state = load_file(DATA / "esm_c_tiny.weights.safetensors")
    save_file(state | {"transformer.blocks.0.geom_attn.proj.weight": torch.ones(1)}, path)
    return path


ABSOLUTE: dict[str, Any] = {"position_embedding_type": "absolute"}
LOOK_ALIKES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "ESM-1b": (lambda p: transformers(p, **ABSOLUTE, emb_layer_norm_before=True), "is an ESM-1b"),
    "ESM-1v": (lambda p: transformers(p, **ABSOLUTE), "position_embedding_type 'absolute' where"),
    "ESM-1v without config.json": (
        lambda p: transformers(p, with_config=False, **ABSOLUTE),
        "is an ESM-1v or the like",
    ),
    "fair-esm's ESM-1b": (lambda p: fair_esm(p, norm_before=True), "is an ESM-1b"),
    "fair-esm's ESM-1v": (lambda p: fair_esm(p, norm_before=False), "is an ESM-1v or the like"),
    "Nucleotide Transformer": (
        lambda p: transformers(p, **ABSOLUTE, vocab_size=4105, token_dropout=False),
        "is Nucleotide Transformer (its vocabulary has 4,105 tokens, that of ESM-2 has 33)",
    ),
    "Nucleotide Transformer v2": (
        lambda p: transformers(p, with_config=False, vocab_size=4107),
        "is Nucleotide Transformer",
    ),
    "BERT": (bert, "is a BERT, such as ProtBert or DNABERT (its vocabulary has"),
    "ESM3": (esm3, "is an ESM3; virnucpro computes"),
    "SaProt": (lambda p: transformers(p, vocab_size=446), "is SaProt"),
    "token_dropout": (
        lambda p: transformers(p, token_dropout=False),
        "config.json says token_dropout False where ESM-2 has True",
    ),
    "layer_norm_eps": (lambda p: transformers(p, layer_norm_eps=1e-12), "layer_norm_eps 1e-12"),
    "folding": (lambda p: renamed(p, lambda n: f"trunk.{n}"), "is an ESMFold"),
    "LoRA": (
        lambda p: renamed(p, lambda n: f"{n.removesuffix('.weight')}.lora_A.weight"),
        "is a LoRA adapter, or a network with one; merge it into its model first",
    ),
    "one tensor more": (
        lambda p: changed(p, lambda s: s | {"esm.encoder.layer.0.gate": torch.ones(1)}),
        "is not ESM-2, which has no tensor esm.encoder.layer.0.gate",
    ),
    "float64": (
        lambda p: changed(p, lambda s: {k: t.double() for k, t in s.items()}),
        "is float64; save the weights as float32, bfloat16 or float16",
    ),
    "other frequencies": (
        lambda p: changed(p, lambda s: {k: t / (1 + ("inv_freq" in k)) for k, t in s.items()}),
        "its rotary positions (esm.rotary_embeddings.inv_freq) are of other frequencies",
    ),
}


def changed(directory: Path, change: Callable[[State], State]) -> Path:
    path = transformers(directory) / "model.safetensors"
    save_file({k: t.contiguous() for k, t in change(load_file(path)).items()}, path)
    return directory


def renamed(directory: Path, rename: Callable[[str], str]) -> Path:
    return changed(directory, lambda state: {rename(name): t for name, t in state.items()})


def refused(given: Path, home: Path) -> str:
    with pytest.raises(BundleError) as error:
        add_encoder("esm2_t6_8M_UR50D", given)
    assert not home.exists() or not list(home.iterdir())
    return str(error.value)


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_it_is_named_and_not_taken(tmp_path: Path, home: Path, name: str) -> None:
    write, told = LOOK_ALIKES[name]
    given = write(tmp_path / "given")
    said = refused(given, home)
    assert said.startswith(f"{given}: ")
    assert told in said


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("with_config", [True, False])
def test_the_names_of_the_published_files_are_taken(
    files: Files, tmp_path: Path, *, with_config: bool
) -> None:
    plain = add_encoder("plain", files.esm2).path / PROTEIN_FILE
    path = files.esm2 / "model.safetensors"
    state = load_file(path)
    frequencies = state.pop("esm.rotary_embeddings.inv_freq")
    for layer in range(LAYERS):  # as ESM-2 is on the hub: frequencies a layer, unused positions
        name = f"esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"
        state[name] = frequencies.clone()
    state["esm.embeddings.position_embeddings.weight"] = torch.ones(1026, WIDTH)
    state["esm.embeddings.position_ids"] = torch.arange(1026)[None]
    save_file(state, path)
    if not with_config:
        (files.esm2 / "config.json").unlink()
    made = add_encoder("published", files.esm2)
    assert (made.path / PROTEIN_FILE).read_bytes() == plain.read_bytes()
    told = "no config.json says otherwise" in read_manifest(made.path)[0].provenance["ESM-2"]
    assert told is not with_config

    fair = ESM2(num_layers=LAYERS, embed_dim=WIDTH, attention_heads=HEADS).state_dict()
    heads = ("lm_head.", "contact_head.")
    named = {
        f"encoder.{'' if name.startswith(heads) else 'sentence_encoder.'}{name}": tensor
        for name, tensor in fair.items()
    }
    torch.save({"cfg": {"model": Namespace(arch="esm2")}, "model": named}, tmp_path / "esm2.pt")
    assert add_encoder("fair", tmp_path / "esm2.pt").config.width == WIDTH


@pytest.mark.usefixtures("home")
def test_the_published_configuration_of_dnabert_s_is_taken(files: Files) -> None:
    path = files.dna / "config.json"
    said = {
        "alibi_starting_size": 512, "architectures": ["BertForMaskedLM"], "hidden_act": "gelu",
        "hidden_size": DNA_WIDTH, "intermediate_size": 192, "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": DNA_HEADS,
        "num_hidden_layers": DNA_LAYERS, "position_embedding_type": "absolute",
        "type_vocab_size": 2, "vocab_size": 4096,
    }  # fmt: skip
    path.write_text(json.dumps(said))
    assert add_encoder("mine", files.dna).kind == "dna"
    path.write_text(json.dumps(said | {"layer_norm_eps": 1e-5}))
    with pytest.raises(BundleError, match="is not DNABERT-S: "):
        add_encoder("other", files.dna)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "bert"),
        ("emb_layer_norm_before", True),
        ("num_hidden_layers", 33),
        ("intermediate_size", 5),
        ("hidden_act", "relu"),
        ("num_attention_heads", 10),
    ],
)
def test_a_configuration_that_is_not_the_tensors(
    files: Files, home: Path, key: str, value: object
) -> None:
    path = files.esm2 / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert str(files.esm2) in refused(files.esm2, home)


def test_what_config_json_leaves_out_is_what_transformers_takes(files: Files, home: Path) -> None:
    path = files.esm2 / "config.json"
    config = json.loads(path.read_text())
    del config["token_dropout"]
    path.write_text(json.dumps(config))
    assert "token_dropout False" in refused(files.esm2, home)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("how", ["module.", "model.", "_orig_mod.module.", "old names", "nested"])
def test_usual_wrappings_are_taken_off(files: Files, tmp_path: Path, how: str) -> None:
    state = load_file(files.esm2 / "model.safetensors")
    plain = add_encoder("plain", files.esm2).path / PROTEIN_FILE
    content: object = {f"{how}{name}": tensor for name, tensor in state.items()}
    if how == "old names":
        pairs = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
        old_names: State = {}
        content = old_names
        for name, tensor in state.items():
            for new, old in pairs:
                name = name.replace(new, old)  # noqa: PLW2901
            old_names[name] = tensor
    elif how == "nested":
        inner = {f"model.{name}": tensor for name, tensor in state.items()}
        content = {"epoch": 3, "state_dict": inner, "optimizer_states": [{"state": {0: [1.5]}}]}
    torch.save(content, tmp_path / "wrapped.ckpt")
    wrapped = add_encoder("wrapped", tmp_path / "wrapped.ckpt").path / PROTEIN_FILE
    assert wrapped.read_bytes() == plain.read_bytes()


OTHER_FILES = {
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 29\n",
        "a pointer of git-lfs, not the file; type git lfs pull",
    ),
    "page": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page, not the file"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "compressed with gzip; decompress it"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "weights of TensorFlow or Keras"),
    "pickle": (b"\x80\x04}\x94.", "a plain pickle, not a checkpoint"),
    "nothing": (b"", "give safetensors or a checkpoint of PyTorch"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_that_are_no_weights_are_named(tmp_path: Path, home: Path, name: str) -> None:
    content, told = OTHER_FILES[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert told in refused(path, home)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tf_model.h5", "weights of TensorFlow"),
        ("flax_model.msgpack", "weights of Flax"),
        ("adapter_model.safetensors", "an adapter (LoRA); merge it into its model first"),
    ],
)
def test_directories_of_other_programs_are_named(
    tmp_path: Path, home: Path, name: str, told: str
) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / name).write_bytes(bytes(10))
    assert f"{name} is {told}" in refused(tmp_path / "given", home)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_program_of_torchscript_is_named(tmp_path: Path, home: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "model.pt")
    assert "a TorchScript program, not a state dict" in refused(tmp_path / "model.pt", home)


@pytest.mark.usefixtures("home")
def test_checkpoints_of_old_pytorch_are_read(files: Files, tmp_path: Path) -> None:
    state = load_file(files.esm2 / "model.safetensors")
    path = tmp_path / "old.pt"
    torch.save({"model": state}, path, _use_new_zipfile_serialization=False)
    plain, old = add_encoder("plain", files.esm2), add_encoder("old", path)
    assert (old.path / PROTEIN_FILE).read_bytes() == (plain.path / PROTEIN_FILE).read_bytes()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="unexpected EOF"):
        add_encoder("short", path)
