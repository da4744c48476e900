"""Weights that do not hold what they should although their digests are right."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from bundle_files import CPU, WEIGHTS, Json, put, refusal
from virnucpro.bundles import load_bundle
from virnucpro.bundles.manifest import HEAD_FILE
from virnucpro.classify import load_classifier


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
    assert refusal(copy).startswith(f"{copy / HEAD_FILE}: cannot be read (")


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0" * 100, b"no tensors at all"])
def test_weights_that_are_no_safetensors_file_are_refused(
    copy: Path, name: str, content: bytes
) -> None:
    put(copy, name, content)
    assert refusal(copy).startswith(f"{copy / name}: cannot be read (")


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


def test_a_tensor_named_with_control_characters_is_refused_in_one_line(copy: Path) -> None:
    put(copy, HEAD_FILE, save(load_file(copy / HEAD_FILE) | {"a\nb": torch.zeros(1)}))
    assert refusal(copy).startswith(f"{copy / HEAD_FILE}: ")


@pytest.mark.parametrize(
    "dtype",
    [torch.int16, torch.uint8, torch.bool, torch.complex64, torch.float64, torch.float8_e5m2],
)
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_another_type_are_refused(copy: Path, name: str, dtype: torch.dtype) -> None:
    put(copy, name, save({k: t.to(dtype) for k, t in load_file(copy / name).items()}))
    assert refusal(copy).startswith(f"{copy / name}: ")


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_a_counter_that_is_not_int64_is_refused(copy: Path, dtype: torch.dtype) -> None:
    name = "bn1.num_batches_tracked"
    tensors = load_file(copy / HEAD_FILE)
    put(copy, HEAD_FILE, save(tensors | {name: tensors[name].to(dtype)}))
    message = refusal(copy)
    assert message.startswith(f"{copy / HEAD_FILE}: {name} is ")
    assert message.endswith(" where I64 is needed; get the bundle again")


def test_a_weight_that_is_int64_is_refused(copy: Path) -> None:
    name = "bn1.weight"
    tensors = load_file(copy / HEAD_FILE)
    put(copy, HEAD_FILE, save(tensors | {name: tensors[name].long()}))
    expected = f"{copy / HEAD_FILE}: {name} is I64 where F16 or BF16 or F32 is needed; "
    assert refusal(copy).startswith(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_any_of_three_types_will_do(copy: Path, name: str, dtype: torch.dtype) -> None:
    tensors = load_file(copy / name)
    put(copy, name, save({k: t.to(dtype) if t.ndim else t for k, t in tensors.items()}))
    network = load_classifier(load_bundle(copy), CPU, torch.float32)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
