"""Bundles: written and read back, and refused in one line when anything about them is wrong."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor

from conftest import tokens_of
from virnucpro.bundles import Bundle, Manifest, load_bundle
from virnucpro.bundles.manifest import DNA_FILE, FILES, HEAD_FILE, PROTEIN_FILE, TOKENIZER_FILE
from virnucpro.classify import ClassifierConfig, FrameClassifier, load_classifier
from virnucpro.encoders import DnabertSConfig, DnaTokenizer, Esm2Config
from virnucpro.errors import BundleError
from virnucpro.training.export import export_bundle

Json = dict[str, Any]
CPU = torch.device("cpu")
MANIFEST = "bundle.json"
WEIGHTS = (PROTEIN_FILE, DNA_FILE, HEAD_FILE)


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """Return a directory with a bundle that the test may damage."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "copy"))


def refusal(directory: Path) -> str:
    """Load a bundle and its network, which must fail, and return the one line it fails with."""
    with pytest.raises(BundleError) as caught:
        load_classifier(load_bundle(directory), CPU, torch.float32)
    message = str(caught.value)
    assert message.isprintable()
    return message


def rewrite_manifest(directory: Path, edit: Callable[[Json], object]) -> None:
    path = directory / MANIFEST
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def put(directory: Path, name: str, content: bytes) -> None:
    """Replace a file and write its digest and size into the manifest."""
    (directory / name).write_bytes(content)
    described = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    rewrite_manifest(directory, lambda manifest: manifest["files"].update({name: described}))


# Round trip


def random_classifier() -> FrameClassifier:
    torch.manual_seed(11)
    config = ClassifierConfig(
        Esm2Config(layers=2, width=32, heads=2),
        DnabertSConfig(layers=2, width=24, heads=3, feed_forward=32),
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
    classifier.protein_encoder.half().float()
    classifier.dna_encoder.half().float()
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
    assert bundle.tokenizer_json() == tokenizer_json
    content = (bundle.path / MANIFEST).read_bytes()
    assert bundle.sha256 == hashlib.sha256(content).hexdigest()
    assert msgspec.json.decode(content, type=Manifest) == manifest


def test_the_same_classifier_gives_the_same_bytes(tokenizer_json: bytes, tmp_path: Path) -> None:
    first, second = (export(random_classifier(), tokenizer_json, tmp_path / x) for x in "ab")
    for name in (MANIFEST, *FILES):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


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
    assert "'compact'" in message


@pytest.mark.parametrize("name", ["virnucpro-300", "virnucpro-500"])
def test_a_published_name_says_that_its_weights_are_needed(name: str) -> None:
    message = refusal(Path(name))
    assert f"'{name}'" in message
    assert "give the directory of a bundle" in message


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


# The manifest


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"\x80\x04K\x01.", b'{"format": 1}'],
)
def test_a_manifest_that_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: not a bundle manifest (")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_manifest_is_refused(copy: Path, share: float) -> None:
    content = (copy / MANIFEST).read_bytes()
    (copy / MANIFEST).write_bytes(content[: int(share * len(content))])
    assert refusal(copy).startswith(f"{copy / MANIFEST}: not a bundle manifest (")


#: Parts of the manifest with fields of their own; the empty name is the manifest itself.
PARTS = ["", "protein_encoder", "dna_encoder", "head", "thresholds"]


def part_of(manifest: Json, part: str) -> Json:
    found: Json = manifest[part] if part else manifest
    return found


@pytest.mark.parametrize("part", PARTS)
def test_every_field_of_a_manifest_is_needed(tiny_bundle: Bundle, copy: Path, part: str) -> None:
    original = (tiny_bundle.path / MANIFEST).read_bytes()
    for field in set(part_of(json.loads(original), part)) - {"architecture"}:
        manifest = json.loads(original)
        del part_of(manifest, part)[field]
        (copy / MANIFEST).write_text(json.dumps(manifest))
        message = refusal(copy)
        assert message.startswith(f"{copy / MANIFEST}: not a bundle manifest (")
        assert f"`{field}`" in message


@pytest.mark.parametrize("part", PARTS)
def test_an_unknown_field_is_refused(copy: Path, part: str) -> None:
    rewrite_manifest(copy, lambda manifest: part_of(manifest, part).update(colour="red"))
    message = refusal(copy)
    assert message.startswith(f"{copy / MANIFEST}: not a bundle manifest (")
    assert "`colour`" in message


@pytest.mark.parametrize("version", [0, 2, 10**30])
def test_another_format_version_is_refused(copy: Path, version: int) -> None:
    rewrite_manifest(copy, lambda m: m.update(format=version, colour="red"))
    expected = f"{copy / MANIFEST}: bundle format {version}; this version reads format 1"
    assert refusal(copy) == expected


@pytest.mark.parametrize(
    "name",
    ["../secret", "../head.safetensors", "/etc/passwd", "sub/../head.safetensors", "more", ""],
)
@pytest.mark.parametrize("replaces", [True, False], ids=["instead", "besides"])
def test_a_manifest_can_name_no_other_file(copy: Path, name: str, *, replaces: bool) -> None:
    def rename(manifest: Json) -> None:
        files = manifest["files"]
        files[name] = files.pop(HEAD_FILE) if replaces else files[HEAD_FILE]

    rewrite_manifest(copy, rename)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: must list exactly the files ")


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_must_list_every_file(copy: Path, name: str) -> None:
    rewrite_manifest(copy, lambda m: m["files"].pop(name))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: must list exactly the files ")


def set_in(part: str, **values: object) -> Callable[[Json], object]:
    """Return an edit of one part of the manifest."""

    def edit(manifest: Json) -> None:
        manifest[part].update(values)

    return edit


OUT_OF_RANGE: dict[str, Callable[[Json], object]] = {
    "negative bytes": lambda m: m["files"][HEAD_FILE].update(bytes=-1),
    "short digest": lambda m: m["files"][HEAD_FILE].update(sha256="ab"),
    "digest of other letters": lambda m: m["files"][HEAD_FILE].update(sha256="Z" * 64),
    "negative layers": set_in("protein_encoder", layers=-1),
    "too many layers": set_in("dna_encoder", layers=10**9),
    "no width": set_in("protein_encoder", width=0),
    "width as text": set_in("dna_encoder", width="24"),
    "no heads": set_in("dna_encoder", heads=0),
    "negative vocabulary": set_in("dna_encoder", vocabulary=-4096),
    "huge head": set_in("head", hidden=10**12),
    "other architecture": set_in("protein_encoder", architecture="bert"),
    "threshold above one": set_in("thresholds", virus=1.5),
    "negative threshold": set_in("thresholds", virus=-0.1),
    "no chunk length": lambda m: m.update(chunk_lengths=[]),
    "chunk length of two bases": lambda m: m.update(chunk_lengths=[300, 2]),
    "unknown frames": lambda m: m.update(frames="whole"),
    "empty name": lambda m: m.update(name=""),
    "metric as text": lambda m: m.update(metrics={"a": {"b": "c"}}),
}


@pytest.mark.parametrize("edit", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused(copy: Path, edit: Callable[[Json], object]) -> None:
    rewrite_manifest(copy, edit)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: not a bundle manifest (")


@pytest.mark.parametrize("part", ["protein_encoder", "dna_encoder"])
@pytest.mark.parametrize("heads", [5, 24, 32])
def test_heads_that_do_not_divide_the_width_are_refused(copy: Path, part: str, heads: int) -> None:
    rewrite_manifest(copy, set_in(part, heads=heads))
    message = refusal(copy)
    assert message.startswith(f"{copy / MANIFEST}: width ")
    assert message.endswith(f" does not fit {heads} heads")


@pytest.mark.parametrize(
    ("part", "size", "file"),
    [
        ("protein_encoder", {"layers": 1}, PROTEIN_FILE),
        ("protein_encoder", {"layers": 3}, PROTEIN_FILE),
        ("protein_encoder", {"layers": 512}, PROTEIN_FILE),
        ("protein_encoder", {"width": 64}, PROTEIN_FILE),
        ("protein_encoder", {"vocabulary": 34}, PROTEIN_FILE),
        ("dna_encoder", {"layers": 2}, DNA_FILE),
        ("dna_encoder", {"width": 48}, DNA_FILE),
        ("dna_encoder", {"feed_forward": 16}, DNA_FILE),
        ("dna_encoder", {"vocabulary": 4095}, DNA_FILE),
        ("head", {"hidden": 17}, HEAD_FILE),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused(
    copy: Path, part: str, size: dict[str, int], file: str
) -> None:
    rewrite_manifest(copy, set_in(part, **size))
    message = refusal(copy)
    assert message.startswith(f"{copy / file}: ")
    assert "where the manifest's sizes need" in message


# The files


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_byte_is_noticed(copy: Path, name: str, place: float) -> None:
    content = bytearray((copy / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (copy / name).write_bytes(content)
    expected = "its sha256 is not the manifest's; the bundle is damaged, get it anew"
    assert refusal(copy) == f"{copy / name}: {expected}"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("missing", [1, 1000, None], ids=["one byte", "some", "all"])
def test_a_truncated_file_is_noticed(copy: Path, name: str, missing: int | None) -> None:
    content = (copy / name).read_bytes()
    kept = content[: -missing if missing else 0]
    (copy / name).write_bytes(kept)
    expected = f"{len(kept)} bytes where the manifest says {len(content)}; "
    assert refusal(copy) == f"{copy / name}: {expected}the bundle is damaged, get it anew"


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_more_at_its_end_is_noticed(copy: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.write(b"\0")
    assert refusal(copy).endswith("the bundle is damaged, get it anew")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert refusal(copy).startswith(f"{copy / name}: cannot be read (")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("target", ["nowhere", "itself", MANIFEST, "."])
def test_a_link_to_something_else_is_noticed(copy: Path, name: str, target: str) -> None:
    (copy / name).unlink()
    (copy / name).symlink_to(name if target == "itself" else target)
    assert refusal(copy).startswith(f"{copy / name}: ")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", ["told", "not told"])
def test_a_directory_instead_of_a_file_is_noticed(copy: Path, name: str, size: str) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    if size == "told":
        told = (copy / name).stat().st_size
        rewrite_manifest(copy, lambda m: m["files"][name].update(bytes=told))
    assert refusal(copy).startswith(f"{copy / name}: ")


# Weights that do not hold what they should although their digests are right


def with_header(content: bytes, header: bytes) -> bytes:
    """Return a safetensors file with another header."""
    end = 8 + int.from_bytes(content[:8], "little")
    return len(header).to_bytes(8, "little") + header + content[end:]


def header_of(content: bytes) -> Json:
    header: Json = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


@dataclass(frozen=True)
class Lie:
    """A header in which one tensor of the head is described as it is not."""

    described: Json

    def told(self, content: bytes) -> bytes:
        header = header_of(content)
        header["hidden_layer.weight"] |= self.described
        return with_header(content, json.dumps(header).encode())


LIES = {
    "turned": Lie({"shape": [56, 16]}),
    "flat": Lie({"shape": [896]}),
    "larger": Lie({"shape": [16, 57]}),
    "overflowing": Lie({"shape": [2**40, 2**40]}),
    "empty": Lie({"shape": [0, 56]}),
    "negative": Lie({"shape": [-16, 56]}),
    "beyond the file": Lie({"data_offsets": [0, 10**9]}),
    "before the file": Lie({"data_offsets": [-8, 0]}),
    "backwards": Lie({"data_offsets": [3584, 0]}),
    "overlapping": Lie({"data_offsets": [0, 3584]}),
    "narrower": Lie({"dtype": "F16"}),
    "wider": Lie({"dtype": "F64"}),
    "of no known type": Lie({"dtype": "object"}),
    "no text": Lie({"dtype": 7}),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lying_header_is_refused(copy: Path, lie: Lie) -> None:
    put(copy, HEAD_FILE, lie.told((copy / HEAD_FILE).read_bytes()))
    assert refusal(copy).startswith(f"{copy / HEAD_FILE}: ")


@pytest.mark.parametrize("header", [b"", b"{", b"null", b"[]", b"{}", b"\xff" * 9, b"[" * 9999])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_header_that_is_none_is_refused(copy: Path, name: str, header: bytes) -> None:
    put(copy, name, with_header((copy / name).read_bytes(), header))
    assert refusal(copy).startswith(f"{copy / name}: ")


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_refused(copy: Path, length: int) -> None:
    content = (copy / HEAD_FILE).read_bytes()
    put(copy, HEAD_FILE, length.to_bytes(8, "little") + content[8:])
    assert refusal(copy).startswith(f"{copy / HEAD_FILE}: not a readable safetensors file (")


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0" * 100, b"no tensors at all"])
def test_weights_that_are_no_safetensors_file_are_refused(
    copy: Path, name: str, content: bytes
) -> None:
    put(copy, name, content)
    assert refusal(copy).startswith(f"{copy / name}: not a readable safetensors file (")


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("change", ["lost", "more", "renamed"])
def test_other_tensors_than_the_networks_are_refused(copy: Path, name: str, change: str) -> None:
    tensors = load_file(copy / name)
    first = min(tensors)
    if change != "more":
        tensor = tensors.pop(first)
    if change != "lost":
        tensors["other"] = torch.zeros(1) if change == "more" else tensor
    put(copy, name, save(tensors))
    message = refusal(copy)
    assert message.startswith(f"{copy / name}: {'other' if change == 'more' else first} is ")
    assert "where the manifest's sizes need" in message


class RunsWhenUnpickled:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.sentinel,)


def pickled(sentinel: Path, form: str) -> bytes:
    if form == "plain":
        return pickle.dumps(RunsWhenUnpickled(sentinel))
    path = sentinel.with_suffix(".pt")
    torch.save(RunsWhenUnpickled(sentinel), path)
    return path.read_bytes()


FORMS = ["plain", "torch"]


@pytest.mark.parametrize("form", FORMS)
def test_the_pickles_of_these_tests_do_run_when_loaded(tmp_path: Path, form: str) -> None:
    sentinel = tmp_path / "sentinel"
    content = pickled(sentinel, form)
    (tmp_path / "pickle").write_bytes(content)
    if form == "plain":
        pickle.loads(content)
    else:
        torch.load(tmp_path / "pickle", weights_only=False)
    assert sentinel.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_pickled_weights_are_refused_and_not_run(
    copy: Path, tmp_path: Path, name: str, form: str
) -> None:
    sentinel = tmp_path / "sentinel"
    put(copy, name, pickled(sentinel, form))
    assert refusal(copy).startswith(f"{copy / name}: not a readable safetensors file (")
    assert not sentinel.exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_pickled_manifest_is_refused_and_not_run(copy: Path, tmp_path: Path, form: str) -> None:
    sentinel = tmp_path / "sentinel"
    (copy / MANIFEST).write_bytes(pickled(sentinel, form))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: not a bundle manifest (")
    assert not sentinel.exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_pickled_tokenizer_is_refused_and_not_run(copy: Path, tmp_path: Path, form: str) -> None:
    sentinel = tmp_path / "sentinel"
    put(copy, TOKENIZER_FILE, pickled(sentinel, form))
    with pytest.raises(ValueError, match=r"^not a byte-pair tokenizer: ") as caught:
        DnaTokenizer(load_bundle(copy).tokenizer_json())
    assert str(caught.value).isprintable()
    assert not sentinel.exists()


# Any damage at all


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory into which every example puts a whole bundle before it damages it."""
    return tmp_path_factory.mktemp("scratch")


def loads_or_is_refused(directory: Path) -> bool:
    """Tell whether a bundle loads; any other failure than a `BundleError` passes through."""
    try:
        load_classifier(load_bundle(directory), CPU, torch.float32)
    except BundleError:
        return False
    return True


def flipped(content: bytes, places: int, data: st.DataObject) -> bytes:
    """Flip one bit, among the lower seven of a byte, in the first `places` bytes."""
    changed = bytearray(content)
    changed[data.draw(st.integers(0, places - 1))] ^= 1 << data.draw(st.integers(0, 6))
    return bytes(changed)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_flipped_bit_of_the_manifest_is_no_crash(
    tiny_bundle: Bundle, scratch: Path, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(tiny_bundle.path, scratch, dirs_exist_ok=True))
    content = (directory / MANIFEST).read_bytes()
    (directory / MANIFEST).write_bytes(flipped(content, len(content), data))
    if not loads_or_is_refused(directory):
        assert str(directory) in refusal(directory)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_flipped_bit_of_a_header_is_no_crash(
    tiny_bundle: Bundle, scratch: Path, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(tiny_bundle.path, scratch, dirs_exist_ok=True))
    name = data.draw(st.sampled_from(WEIGHTS))
    content = (directory / name).read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    put(directory, name, flipped(content, header_end, data))
    if not loads_or_is_refused(directory):
        assert str(directory / name) in refusal(directory)


# Damage that is not refused as it should be: a strict xfail each, to be lifted with the mend


@pytest.mark.xfail(raises=UnicodeDecodeError, reason="parse_manifest lets UnicodeDecodeError out")
def test_a_manifest_with_text_that_is_not_utf8_is_refused(copy: Path) -> None:
    content = (copy / MANIFEST).read_bytes()
    (copy / MANIFEST).write_bytes(content.replace(b'"tiny"', b'"\xf4iny"'))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: not a bundle manifest (")


@pytest.mark.xfail(raises=RecursionError, reason="parse_manifest lets RecursionError out")
def test_a_deeply_nested_manifest_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_bytes(b'{"format": 1, "name": ' + b"[" * 100_000)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: not a bundle manifest (")


@pytest.mark.xfail(raises=AssertionError, reason="the unknown field is quoted as it is")
@pytest.mark.parametrize("field", ["a\nb", "\x1b[31mred"])
def test_an_unknown_field_of_control_characters_is_refused_in_one_line(
    copy: Path, field: str
) -> None:
    rewrite_manifest(copy, lambda manifest: manifest.update({field: 1}))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: not a bundle manifest (")


@pytest.mark.xfail(raises=AssertionError, reason="the tensor's name is quoted as it is")
def test_a_tensor_named_with_control_characters_is_refused_in_one_line(copy: Path) -> None:
    put(copy, HEAD_FILE, save(load_file(copy / HEAD_FILE) | {"a\nb": torch.zeros(1)}))
    assert refusal(copy).startswith(f"{copy / HEAD_FILE}: ")


@pytest.mark.xfail(
    raises=(RuntimeError, pytest.fail.Exception), reason="the dtype of weights is not checked"
)
@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_floating_point_are_refused(
    copy: Path, name: str, dtype: torch.dtype
) -> None:
    put(copy, name, save({k: t.to(dtype) for k, t in load_file(copy / name).items()}))
    assert refusal(copy).startswith(f"{copy / name}: ")


# What loads


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
