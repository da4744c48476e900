"""Bundles from published files: true key names and layouts, small random weights."""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from esm.model.esm2 import ESM2
from safetensors.torch import save_file

from conftest import relative_error, tokens_of
from processes import EXAMPLES, run
from published_files import HEADS, LAYERS, WIDTH, Files, MLPClassifier, esm2, shard
from virnucpro.bundles.assemble import add_bundle
from virnucpro.bundles.registry import ENCODERS, PUBLISHED, git_blob_id, sha256_of
from virnucpro.bundles.store import added_bundles, bundle_path, load_bundle
from virnucpro.bundles.weights import read_weights
from virnucpro.classify import load_classifier
from virnucpro.encoders import pack_sequences
from virnucpro.errors import BundleError, SettingsError


def test_a_bundle_is_added_listed_and_predicts(files: Files, home: Path, tmp_path: Path) -> None:
    added = run("models", "add", "mine", *files, "--chunk-length", "500")
    assert added.returncode == 0, added.stderr
    assert "use it with virnucpro predict --bundle mine" in added.stdout
    assert run("models", "path", "mine").stdout.strip() == str(home / "mine")
    listed = run("models", "list").stdout
    assert "compact" in listed
    assert str(home / "mine") in listed
    assert "not here: virnucpro models fetch virnucpro-500" in listed
    done = run("predict", EXAMPLES[1], "-o", tmp_path / "out", "--bundle", "mine")
    assert done.returncode == 0, done.stderr
    assert "predict with mine 1 on" in done.stderr
    assert [path.name for path in home.iterdir()] == ["mine"]
    manifest = (home / "mine" / "bundle.json").read_text()
    (home / "mine" / "bundle.json").write_text(manifest.replace('"format": 1', '"format": 2', 1))
    told = run("models", "list")
    assert told.returncode == 0
    assert "not here: virnucpro models fetch virnucpro-500" in told.stdout
    reason = f"{home / 'mine' / 'bundle.json'}: bundle format 2 where this version"
    assert f"mine                 damaged   {reason}" in told.stdout


@pytest.mark.parametrize(
    "layout", ["safetensors", "sharded safetensors", "sharded bin", "fair-esm"]
)
def test_encoders_compute_what_the_reference_does(
    files: Files, home: Path, tmp_path: Path, layout: str
) -> None:
    reference = esm2()
    path = tmp_path / "layout"
    path.mkdir()
    state = dict(reference.state_dict())
    state.pop("lm_head.decoder.weight", None)
    tokens = tokens_of([30, 7, 101], 4, 24)
    rows = tokens.ids.copy()
    ends = tokens.offsets
    hidden = []
    if layout == "fair-esm":
        model = ESM2(num_layers=LAYERS, embed_dim=WIDTH, attention_heads=HEADS).eval()
        path = path / "esm2.pt"
        content = {"args": argparse.Namespace(layers=LAYERS), "model": model.state_dict()}
        torch.save(content, path)
    elif layout == "safetensors":
        save_file({k: t.contiguous() for k, t in state.items()}, path / "model.safetensors")
    else:
        shard(state, path, "model" if "safe" in layout else "pytorch_model")
    with torch.no_grad():
        for start, end in pairwise(ends.tolist()):
            ids = torch.from_numpy(rows[start:end])[None]
            if layout == "fair-esm":
                hidden.append(model(ids, repr_layers=[LAYERS])["representations"][LAYERS][0])
            else:
                hidden.append(reference.esm(ids).last_hidden_state[0])
        bundle = add_bundle("mine", [path, files.dna, files.head], 500)
        network = load_classifier(bundle, torch.device("cpu"), torch.float32).protein_encoder
        pack = pack_sequences(tokens, torch.arange(3).numpy())
        found = network(pack)
    assert relative_error(found, torch.cat(hidden)) < 1e-5
    assert added_bundles() == ["mine"]
    assert bundle_path("mine") == home / "mine"


def refused(match: str, *paths: Path, name: str = "mine") -> None:
    """Check that files are refused in one line and leave nothing."""
    with pytest.raises(BundleError, match=match) as error:
        add_bundle(name, paths, 500)
    assert "\n" not in str(error.value)
    assert added_bundles() == []


@pytest.mark.usefixtures("home")
def test_parts_that_are_missing_twice_or_wrong(files: Files, tmp_path: Path) -> None:
    refused("no head among the files", files.esm2, files.dna)
    refused("no protein encoder and no DNA encoder", files.head)
    refused("a second head in addition to", *files, files.head)
    refused("is no name for a bundle", *files, name="../mine")
    refused("holds no weights", tmp_path, files.dna, files.head)
    (tmp_path / "junk").write_bytes(b"junk" * 100)
    refused("give safetensors or a checkpoint of PyTorch", tmp_path / "junk")
    torch.save(MLPClassifier(7).state_dict(), tmp_path / "other.pth")
    refused("takes 7 numbers a frame where", files.esm2, files.dna, tmp_path / "other.pth")
    torch.save({"hidden_layer.weight": torch.ones(2, 2)}, tmp_path / "no.pth")
    refused("bn1.bias is missing", files.esm2, files.dna, tmp_path / "no.pth")
    (files.dna / "tokenizer.json").unlink()
    refused("tokenizer.json: is missing; DNABERT-S needs it", *files)


@pytest.mark.usefixtures("home")
def test_a_name_is_given_once(files: Files) -> None:
    add_bundle("mine", files, 500)
    with pytest.raises(BundleError, match="is there already"):
        add_bundle("mine", files, 500)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("match", "name", "tensor"),
    [
        ("is missing", "esm.encoder.layer.1.output.dense.weight", None),
        ("not complete", "esm.encoder.layer.1.attention.self.query.weight", None),
        ("has shape", "esm.encoder.layer.0.output.dense.bias", torch.ones(5)),
        ("not complete", "esm.encoder.layer.7.output.dense.bias", torch.ones(WIDTH)),
    ],
)
def test_damaged_weights(
    files: Files, tmp_path: Path, match: str, name: str, tensor: torch.Tensor | None
) -> None:
    state = dict(esm2().state_dict())
    state.pop(name, None)
    if tensor is not None:
        state[name] = tensor
    torch.save(state, tmp_path / "broken.bin")
    refused(match, tmp_path / "broken.bin", files.dna, files.head)


@pytest.mark.parametrize(
    "name", ["../secret.bin", "/etc/passwd", "a/b.bin", "model.index.json", ""]
)
def test_an_index_names_files_beside_it_only(tmp_path: Path, name: str) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"weight": name}}))
    torch.save({"weight": torch.ones(1)}, tmp_path.parent / "secret.bin")
    with pytest.raises(BundleError) as error:
        read_weights(index)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(BundleError):
        read_weights(tmp_path)


def test_an_index_of_a_tensor_that_is_nowhere(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BundleError, match="b is in none of its files"):
        read_weights(tmp_path)


@pytest.mark.parametrize("length", [0, 1 << 20, 1 << 62])
def test_safetensors_with_a_lying_header(tmp_path: Path, length: int) -> None:
    header = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,999999]}}'
    content = (length or len(header)).to_bytes(8, "little") + header + bytes(16)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match="give safetensors or a checkpoint of PyTorch"):
        read_weights(tmp_path)


@pytest.mark.usefixtures("home")
def test_a_published_name_needs_the_published_head(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused("is not the published 500_model.pth", *files, name="virnucpro-500")
    published = PUBLISHED["virnucpro-500"]._replace(head_blob=git_blob_id(files.head))
    monkeypatch.setitem(PUBLISHED, "virnucpro-500", published)
    bundle = add_bundle("virnucpro-500", files)
    assert bundle.manifest.chunk_lengths == (500,)
    assert load_bundle("virnucpro-500").sha256 == bundle.sha256


@pytest.mark.usefixtures("home")
def test_the_manifest_says_which_digests_are_published(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sha256_of(files.esm2 / "model.safetensors")
    known = ENCODERS["esm2_t36_3B_UR50D"]._replace(digests=frozenset({digest}))
    monkeypatch.setitem(ENCODERS, "esm2_t36_3B_UR50D", known)
    said = add_bundle("mine", files, 500).manifest.provenance
    assert said["ESM-2"] == f"model.safetensors sha256 {digest} (as published)"
    assert said["DNABERT-S"].endswith("(no published digest is known of it)")


def test_blob_ids_are_those_of_git(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello\n")
    assert git_blob_id(tmp_path / "file") == "ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.usefixtures("home")
def test_a_chunk_length_is_needed(files: Files) -> None:
    with pytest.raises(BundleError, match="give --chunk-length"):
        add_bundle("mine", files)
    for length in (2, 1_000_001):
        with pytest.raises(SettingsError, match=f"--chunk-length {length}: give 3 bases"):
            add_bundle("mine", files, length)


def test_the_published_bundles_say_what_to_type(home: Path) -> None:
    with pytest.raises(BundleError, match="virnucpro models add virnucpro-300 ESM2") as error:
        load_bundle("virnucpro-300")
    assert "\n" not in str(error.value)
    assert not home.exists()
