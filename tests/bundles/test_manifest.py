"""Manifests that are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle_files import FILES, MANIFEST, Json, refusal, rewrite_manifest, set_in
from virnucpro.bundles import Bundle
from virnucpro.bundles.manifest import DNA_FILE, HEAD_FILE, PROTEIN_FILE, TOKENIZER_FILE


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"\x80\x04K\x01.", b'{"format": 1}'],
)
def test_a_manifest_that_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_manifest_is_refused(copy: Path, share: float) -> None:
    content = (copy / MANIFEST).read_bytes()
    (copy / MANIFEST).write_bytes(content[: int(share * len(content))])
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


#: Parts of the manifest with fields of their own; the empty name is the manifest itself.
PARTS = ["", "protein_encoder", "dna_encoder", "head", "thresholds"]
#: What a manifest need not have: the name of the only architecture, or a second encoder.
OPTIONAL = {"architecture", "dna_encoder"}


def part_of(manifest: Json, part: str) -> Json:
    found: Json = manifest[part] if part else manifest
    return found


@pytest.mark.parametrize("part", PARTS)
def test_every_field_of_a_manifest_is_needed(tiny_bundle: Bundle, copy: Path, part: str) -> None:
    original = (tiny_bundle.path / MANIFEST).read_bytes()
    for field in set(part_of(json.loads(original), part)) - OPTIONAL:
        manifest = json.loads(original)
        del part_of(manifest, part)[field]
        (copy / MANIFEST).write_text(json.dumps(manifest))
        message = refusal(copy)
        assert message.startswith(f"{copy / MANIFEST}: cannot be read (")
        assert f"`{field}`" in message


@pytest.mark.parametrize("frames", ["open", "segments", "whole", "all"])
def test_one_of_two_encoders_is_not_enough(copy: Path, frames: str) -> None:
    rewrite_manifest(copy, lambda m: m.pop("dna_encoder"))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: must list exactly the files ")

    def leave_out(manifest: Json) -> None:
        manifest["frames"] = frames
        for name in (DNA_FILE, TOKENIZER_FILE):
            del manifest["files"][name]

    rewrite_manifest(copy, leave_out)
    told = f"{copy / MANIFEST}: frames {frames} do not fit its encoders; get the bundle again"
    assert refusal(copy) == told


def test_two_encoders_do_not_read_all_frames_as_one(copy: Path) -> None:
    rewrite_manifest(copy, lambda m: m.update(frames="all"))
    told = f"{copy / MANIFEST}: frames all do not fit its encoders; get the bundle again"
    assert refusal(copy) == told


@pytest.mark.parametrize("part", PARTS)
def test_an_unknown_field_is_refused(copy: Path, part: str) -> None:
    rewrite_manifest(copy, lambda manifest: part_of(manifest, part).update(colour="red"))
    message = refusal(copy)
    assert message.startswith(f"{copy / MANIFEST}: cannot be read (")
    assert "`colour`" in message


@pytest.mark.parametrize("version", [0, 2, 10**30])
def test_another_format_version_is_refused(copy: Path, version: int) -> None:
    rewrite_manifest(copy, lambda m: m.update(format=version, colour="red"))
    expected = f"{copy / MANIFEST}: bundle format {version} where this version reads format 1; "
    assert refusal(copy).startswith(expected)


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


def test_a_manifest_with_text_that_is_not_utf8_is_refused(copy: Path) -> None:
    content = (copy / MANIFEST).read_bytes()
    (copy / MANIFEST).write_bytes(content.replace(b'"tiny"', b'"\xf4iny"'))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


def test_a_deeply_nested_manifest_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_bytes(b'{"format": 1, "name": ' + b"[" * 100_000)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


@pytest.mark.parametrize("field", ["a\nb", "\x1b[31mred"])
def test_an_unknown_field_of_control_characters_is_refused_in_one_line(
    copy: Path, field: str
) -> None:
    rewrite_manifest(copy, lambda manifest: manifest.update({field: 1}))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


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
    "unknown frames": lambda m: m.update(frames="half"),
    "empty name": lambda m: m.update(name=""),
    "metric as text": lambda m: m.update(metrics={"a": {"b": "c"}}),
}


@pytest.mark.parametrize("edit", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused(copy: Path, edit: Callable[[Json], object]) -> None:
    rewrite_manifest(copy, edit)
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")


@pytest.mark.parametrize("part", ["protein_encoder", "dna_encoder"])
@pytest.mark.parametrize("heads", [5, 24, 32])
def test_heads_that_do_not_divide_the_width_are_refused(copy: Path, part: str, heads: int) -> None:
    rewrite_manifest(copy, set_in(part, heads=heads))
    message = refusal(copy)
    assert message.startswith(f"{copy / MANIFEST}: width ")
    assert message.endswith(f" does not fit {heads} heads; get the bundle again")


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
