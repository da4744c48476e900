"""Bundles: written and read back, found by name, and their tokenizer."""

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bundle_files import CPU, FILES, MANIFEST, WEIGHTS, put, refusal, rewrite_manifest, set_in
from conftest import tokens_of
from virnucpro.bundles import Bundle, Manifest, load_bundle
from virnucpro.bundles.manifest import HEAD_FILE, TOKENIZER_FILE
from virnucpro.classify import ClassifierConfig, FrameClassifier, load_classifier
from virnucpro.encoders import DnabertSConfig, DnaTokenizer, Esm2Config
from virnucpro.errors import BundleError
from virnucpro.training.export import export_bundle


def random_classifier() -> FrameClassifier:
    torch.manual_seed(11)
    config = ClassifierConfig(
        Esm2Config(layers=2, width=32, heads=2, vocabulary=33),
        DnabertSConfig(layers=2, width=24, heads=3, feed_forward=32, vocabulary=4096),
        head_hidden=16,
    )
    classifier = FrameClassifier(config).eval()
    for parameter in classifier.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    classifier.head.bn1.running_mean = torch.randn(16)
    classifier.head.bn1.running_var = torch.rand(16) + 0.5
    return classifier


@torch.inference_mode()
def scores(classifier: FrameClassifier) -> Tensor:
    lengths = [5, 40, 3, 17, 40]
    protein = classifier.embed_proteins(tokens_of(lengths, 4, 24), 60)
    dna = classifier.embed_dna(tokens_of(lengths, 5, 4096), 60)
    found: Tensor = classifier(protein, dna)
    return found


def export(classifier: FrameClassifier, tokenizer_json: bytes, directory: Path) -> Bundle:
    return export_bundle(
        classifier,
        tokenizer_json,
        directory,
        name="round",
        version="2",
        chunk_lengths=(500, 300),
        provenance={"weights": "random"},
        metrics={"held-out": {"auroc": 0.5}},
    )


def test_a_classifier_comes_back_as_it_was_exported(tokenizer_json: bytes, tmp_path: Path) -> None:
    classifier = random_classifier()
    directory = tmp_path / "made" / "bundle"
    written = export(classifier, tokenizer_json, directory)
    bundle = load_bundle(directory)
    found = load_classifier(bundle, CPU, torch.float32)
    for part in ("protein_encoder", "dna_encoder"):
        classifier.get_submodule(part).half().float()
    expected = scores(classifier)
    assert len(expected.unique()) == expected.numel()
    torch.testing.assert_close(scores(found), expected, rtol=1e-6, atol=1e-7)
    assert found.config == classifier.config
    assert bundle == written


def test_a_loaded_bundle_says_what_was_written(tokenizer_json: bytes, tmp_path: Path) -> None:
    bundle = export(random_classifier(), tokenizer_json, tmp_path / "bundle")
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.format) == ("round", "2", 1)
    assert manifest.chunk_lengths == (500, 300)
    assert manifest.provenance == {"weights": "random"}
    assert manifest.metrics == {"held-out": {"auroc": 0.5}}
    assert set(manifest.files) == set(FILES)
    assert (bundle.path / TOKENIZER_FILE).read_bytes() == tokenizer_json
    content = (bundle.path / MANIFEST).read_bytes()
    assert bundle.sha256 == hashlib.sha256(content).hexdigest()
    assert msgspec.json.decode(content, type=Manifest) == manifest


def test_the_same_classifier_gives_the_same_bytes(tokenizer_json: bytes, tmp_path: Path) -> None:
    first, second = (export(random_classifier(), tokenizer_json, tmp_path / x) for x in "ab")
    for name in (MANIFEST, *FILES):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_a_bundle_is_written_over_another(tokenizer_json: bytes, copy: Path) -> None:
    (copy / HEAD_FILE).unlink()
    (copy / f"{MANIFEST}.0123abcd.partial").write_bytes(b"left behind")
    written = export(random_classifier(), tokenizer_json, copy)
    assert load_bundle(copy) == written
    assert {path.name for path in copy.iterdir()} == {MANIFEST, *FILES}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_encoders_have_the_wanted_dtype_and_the_head_fp32(
    tiny_bundle: Bundle, dtype: torch.dtype
) -> None:
    network = load_classifier(tiny_bundle, CPU, dtype)
    assert not network.training
    for part, expected in (("protein_encoder", dtype), ("dna_encoder", dtype), ("head", None)):
        found = {p.dtype for p in network.get_submodule(part).parameters()}
        assert found == {expected or torch.float32}


# Names and directories


def test_an_unknown_name_is_refused() -> None:
    message = refusal(Path("no-such-bundle"))
    assert "'no-such-bundle'" in message
    assert "give 'compact', 'compact-pair'" in message


@pytest.mark.parametrize("name", ["virnucpro-300", "virnucpro-500"])
def test_a_published_name_says_that_its_weights_are_needed(name: str) -> None:
    message = refusal(Path(name))
    assert f"'{name}'" in message
    assert f"models fetch {name}," in message


def test_a_file_is_no_bundle(copy: Path) -> None:
    assert str(copy / HEAD_FILE) in refusal(copy / HEAD_FILE)


@pytest.mark.parametrize("instead", ["nothing", "directory", "dangling link"])
def test_a_directory_without_a_manifest_is_refused(copy: Path, instead: str) -> None:
    (copy / MANIFEST).unlink()
    if instead == "directory":
        (copy / MANIFEST).mkdir()
    elif instead == "dangling link":
        (copy / MANIFEST).symlink_to("nowhere")
    message = refusal(copy)
    assert message.startswith(f"{copy}: not a bundle ({MANIFEST}: ")


def test_loading_does_not_change_the_bundle(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    load_classifier(load_bundle(copy), CPU, torch.float16)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_loaded_weights_are_those_of_the_files(tiny_bundle: Bundle) -> None:
    network = load_classifier(tiny_bundle, CPU, torch.float32)
    for part, name in zip(("protein_encoder", "dna_encoder", "head"), WEIGHTS, strict=True):
        written = load_file(tiny_bundle.path / name)
        found = network.get_submodule(part).state_dict()
        assert found.keys() == written.keys()
        for key, tensor in written.items():
            np.testing.assert_array_equal(found[key].numpy(), tensor.numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_loaded_network_does_without_its_files(copy: Path, dtype: torch.dtype) -> None:
    network = load_classifier(load_bundle(copy), CPU, dtype)
    before = scores(network)
    for path in copy.iterdir():
        path.write_bytes(b"")  # the file itself, on which its weights would be mapped
    torch.testing.assert_close(scores(network), before, rtol=0, atol=0)


# The tokenizer


def test_the_tokenizer_is_the_files(tiny_bundle: Bundle, tokenizer_json: bytes) -> None:
    dna = ["ACGTACGTTTGACA", "GATTACA"]
    found, expected = tiny_bundle.tokenizer()(dna), DnaTokenizer(tokenizer_json)(dna)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.offsets, expected.offsets)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"model": {"vocab": {"\\n": 1}}}']
)
def test_a_file_that_is_no_tokenizer_is_refused(copy: Path, content: bytes) -> None:
    put(copy, TOKENIZER_FILE, content)
    with pytest.raises(BundleError) as caught:
        load_bundle(copy).tokenizer()
    message = str(caught.value)
    assert message.startswith(f"{copy / TOKENIZER_FILE}: ")
    assert message.endswith("; give a byte-pair tokenizer as DNABERT-S has it")
    assert message.isprintable()


def test_a_tokenizer_of_more_tokens_than_the_encoder_has_is_refused(copy: Path) -> None:
    rewrite_manifest(copy, set_in("dna_encoder", vocabulary=4095))
    with pytest.raises(BundleError, match=r"token ids up to 4095 where .* a vocabulary of 4095;"):
        load_bundle(copy).tokenizer()
    tokenizer = json.loads((copy / TOKENIZER_FILE).read_bytes())
    tokenizer["model"]["vocab"]["[PAD]"] = 5000
    put(copy, TOKENIZER_FILE, json.dumps(tokenizer).encode())
    with pytest.raises(BundleError, match="token ids up to 5000 where"):
        load_bundle(copy).tokenizer()
