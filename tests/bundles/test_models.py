"""Lone encoders: added, found by name, refused, and read as the encoders of bundles are."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from published_files import DNA_HEADS, DNA_LAYERS, DNA_WIDTH, HEADS, LAYERS, WIDTH, Files
from virnucpro.bundles import Bundle, load_bundle, load_model
from virnucpro.bundles.assemble import add_bundle, add_encoder
from virnucpro.bundles.bundle_files import read_tensors
from virnucpro.bundles.manifest import DNA_FILE, MANIFEST_FILE, PROTEIN_FILE, TOKENIZER_FILE
from virnucpro.bundles.registry import ENCODERS
from virnucpro.bundles.store import added_bundles, added_encoders
from virnucpro.bundles.stored_encoder import load
from virnucpro.encoders import DnabertS, DnabertSConfig, Esm2, Esm2Config
from virnucpro.errors import BundleError

SIZES = Esm2Config(LAYERS, WIDTH, HEADS, vocabulary=33)
DNA_SIZES = DnabertSConfig(DNA_LAYERS, DNA_WIDTH, DNA_HEADS, 192, vocabulary=4096)
pytestmark = pytest.mark.usefixtures("home")


def refused(name: str | Path) -> str:
    with pytest.raises(BundleError) as error:
        load_model(name)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_lone_protein_encoder(files: Files, home: Path) -> None:
    added = add_encoder("mine", files.esm2)
    model = load_model("mine")
    assert (model.name, model.kind, model.path) == ("mine", "protein", home / "mine")
    assert model.config == SIZES
    assert model.sha256 == added.sha256
    assert {path.name for path in model.path.iterdir()} == {MANIFEST_FILE, PROTEIN_FILE}
    assert (added_encoders(), added_bundles()) == (["mine"], [])
    assert load_model(home / "mine").files == model.files
    assert pickle.loads(pickle.dumps(model)) == model


def test_a_lone_dna_encoder(files: Files, tokenizer_json: bytes) -> None:
    model = add_encoder("mine", files.dna)
    assert model.kind == "dna"
    assert model.config == DNA_SIZES
    names = {path.name for path in model.path.iterdir()}
    assert names == {MANIFEST_FILE, DNA_FILE, TOKENIZER_FILE}
    assert (model.path / TOKENIZER_FILE).read_bytes() == tokenizer_json
    assert model.tokenizer().vocabulary_size == model.config.vocabulary


def test_it_holds_the_same_as_a_bundle(files: Files) -> None:
    add_bundle("whole", files, 500)
    for kind, given, network in (
        ("protein", files.esm2, Esm2(SIZES)),
        ("dna", files.dna, DnabertS(DNA_SIZES)),
    ):
        lone, part = add_encoder(kind, given), load_model(f"whole:{kind}")
        assert (part.kind, part.config, part.files) == (kind, lone.config, lone.files)
        expected = network.state_dict()
        found, of_bundle = (read_tensors(x.stored.weights, expected) for x in (lone, part))
        for name, tensor in of_bundle.items():
            assert torch.equal(tensor, found[name])


def test_a_part_of_a_bundle_is_checked_by_itself(copy: Path) -> None:
    (copy / PROTEIN_FILE).write_bytes(b"")
    assert load_model(f"{copy}:dna").path == copy
    assert refused(f"{copy}:protein").startswith(f"{copy / PROTEIN_FILE}: 0 bytes where")
    load_model(f"{copy}:protein", is_checked=True)


def test_names_that_mean_no_encoder(files: Files, tiny_bundle: Bundle) -> None:
    whole = "compact-pair: a whole bundle; give compact-pair:protein or compact-pair:dna"
    assert refused("compact-pair") == whole
    for name in ("compact", "compact:protein", "compact:dna"):
        kind = name.partition(":")[2] or "protein"
        assert refused(name) == (
            f"compact: reads all frames with one network and has no {kind} encoder; give another "
            f"model, as compact-pair:{kind}"
        )
    assert f"give {tiny_bundle.path}:protein" in refused(tiny_bundle.path)
    fetch = "esm2_t6_8M_UR50D: is not here; type virnucpro models fetch esm2_t6_8M_UR50D"
    assert refused("esm2_t6_8M_UR50D") == fetch
    assert "virnucpro models fetch virnucpro-500" in refused("virnucpro-500:dna")
    add_encoder("mine", files.dna)
    assert refused("mine:dna") == "mine:dna: a lone encoder; leave out :dna"
    assert refused("no") == (
        "no encoder 'no': give mine, compact-pair:protein, compact-pair:dna, a directory, or one "
        "to fetch (virnucpro models list)"
    )
    assert isinstance(load("compact"), Bundle)
    assert load("mine") == load_model("mine")


def test_a_lone_encoder_is_no_bundle(files: Files) -> None:
    path = add_encoder("mine", files.dna).path
    for name in ("mine", "esm2_t6_8M_UR50D"):
        with pytest.raises(BundleError, match=f"virnucpro embed --model {name}"):
            load_bundle(name)
    with pytest.raises(BundleError, match="an encoder without a head"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"format": 2}, "bundle format 2 where"),
        ({"colour": "red"}, "`colour`"),
        ({"encoder": {"architecture": "bert"}}, "cannot be read ("),
        ({"encoder": []}, "cannot be read ("),
        ({"provenance": {}}, "does not say where"),
        ({"files": {}}, "must list exactly the files"),
        ({"head": {"hidden": 3}}, "`head`"),
    ],
)
def test_a_damaged_manifest(files: Files, edit: dict[str, object], told: str) -> None:
    path = add_encoder("mine", files.esm2).path / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    message = refused("mine")
    assert message.startswith(f"{path}: ")
    assert told in message


def test_what_cannot_be_added_as_an_encoder(
    files: Files, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(name: str, given: Path | str) -> str:
        with pytest.raises(BundleError) as error:
            add_encoder(name, given)
        assert not list(home.glob("*"))
        return str(error.value)

    assert told("mine", files.head).endswith("a head; give an ESM-2 and a DNABERT-S with it")
    assert told("virnucpro-500", files.esm2).startswith("virnucpro-500: a whole bundle; ")
    assert told("compact", files.esm2) == "compact: comes with virnucpro; give another name"
    assert "models fetch dnabert-s" in told("mine", "dnabert-s")
    assert "a whole bundle; give compact-pair:protein" in told("mine", "compact-pair")
    assert "has no protein encoder" in told("mine", "compact")
    wrong = "is DNABERT-S with 3 layers, width 96 and 12 heads, but esm2_t6_8M_UR50D is ESM-2 with"
    assert wrong in told("esm2_t6_8M_UR50D", files.dna)
    with pytest.raises(BundleError, match="the name of an encoder"):
        add_bundle("dnabert-s", files, 500)
    tiny = ENCODERS["dnabert-s"]._replace(layers=DNA_LAYERS, width=DNA_WIDTH, heads=DNA_HEADS)
    monkeypatch.setitem(ENCODERS, "dnabert-s", tiny)
    assert add_encoder("dnabert-s", files.dna).kind == "dna"


def test_encoders_that_were_added_are_linked(files: Files, home: Path) -> None:
    add_encoder("protein", files.esm2)
    dna = add_encoder("dna", files.dna)
    bundle = add_bundle("whole", ["protein", dna.path, files.head], 500)
    bundle.check()
    for kind, file in (("protein", PROTEIN_FILE), ("dna", DNA_FILE), ("dna", TOKENIZER_FILE)):
        assert (bundle.path / file).samefile(home / kind / file)
    again = add_encoder("again", "whole:dna")
    assert (again.path / DNA_FILE).samefile(dna.path / DNA_FILE)
    (dna.path / DNA_FILE).write_bytes(b"damaged")
    with pytest.raises(BundleError, match="the bundle is damaged"):
        add_bundle("other", ["protein", "dna", files.head], 500)
    assert not (home / "other").exists()


def test_numbers_that_fp16_holds_are_kept_in_fp16(files: Files) -> None:
    path = files.esm2 / "model.safetensors"
    exact, large = "esm.encoder.layer.0.output.dense.weight", "esm.encoder.layer.1.output.dense."
    state = {name: tensor.half().float() for name, tensor in load_file(path).items()}
    state[f"{large}weight"][-1, -1] += 1e-6
    state[f"{large}bias"][0] = 1e5
    save_file(state, path)
    model = add_encoder("mine", path.parent)
    kept = load_file(model.path / PROTEIN_FILE)
    wide = {name for name, tensor in kept.items() if tensor.dtype == torch.float32}
    assert wide == {"embedding.weight", "blocks.1.down.weight", "blocks.1.down.bias"}
    expected = Esm2(SIZES).state_dict()
    found = read_tensors(model.stored.weights, expected, dtype=torch.float32)
    assert torch.equal(found["blocks.0.down.weight"], state[exact])
    assert torch.equal(found["blocks.1.down.weight"], state[f"{large}weight"])
    assert torch.equal(found["blocks.1.down.bias"], state[f"{large}bias"])
    names = [f"esm.encoder.layer.0.attention.self.{x}.weight" for x in ("query", "key", "value")]
    assert torch.equal(found["blocks.0.qkv.weight"], torch.cat([state[name] for name in names]))
    numbers = sum(tensor.numel() for name, tensor in kept.items() if name not in wide)
    widths = sum(4 * kept[name].numel() for name in wide)
    assert (model.path / PROTEIN_FILE).stat().st_size < 2 * numbers + widths + 10_000


def test_an_embedding_in_fp16_is_scaled_in_fp32(files: Files) -> None:
    path = files.esm2 / "model.safetensors"
    state = {name: tensor.half() for name, tensor in load_file(path).items()}
    save_file(state, path)
    kept = load_file(add_encoder("mine", path.parent).path / PROTEIN_FILE)
    published = state["esm.embeddings.word_embeddings.weight"]
    assert torch.equal(kept["embedding.weight"], published.float() * 0.88)
