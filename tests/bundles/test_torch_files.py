"""Checkpoints of PyTorch: true ones give their tensors, hostile ones one line and nothing else."""

import argparse
import collections
import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from virnucpro.bundles.torch_files import read_state_dict
from virnucpro.errors import BundleError

STATE = {
    "layer.weight": torch.arange(12.0).view(3, 4),
    "layer.bias": torch.tensor([1.5, -2.0, 0.0]).half(),
    "steps": torch.tensor(7),
    "empty": torch.empty(0, 4),
    "part": torch.arange(10)[3:8],
}


class MLPClassifier(nn.Module):
    """The published head, as it is named in its pickle."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(6, 4)
        self.bn1 = nn.BatchNorm1d(4)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.5)
        self.output_layer = nn.Linear(4, 2)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_state_dict(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "model.bin")
    assert_equal(read_state_dict(tmp_path / "model.bin"), STATE)


def test_parameters_in_an_ordered_dict(tmp_path: Path) -> None:
    state = collections.OrderedDict(weight=nn.Parameter(torch.ones(2, 3)))
    torch.save(state, tmp_path / "model.bin")
    assert_equal(read_state_dict(tmp_path / "model.bin"), {"weight": torch.ones(2, 3)})


def test_what_fair_esm_saves(tmp_path: Path) -> None:
    content = {"args": argparse.Namespace(layers=3), "cfg": {"a": [1, None]}, "model": STATE}
    torch.save(content, tmp_path / "esm2.pt")
    assert_equal(read_state_dict(tmp_path / "esm2.pt"), STATE)


def test_the_whole_module_of_a_published_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MLPClassifier, "__module__", "__main__")
    monkeypatch.setattr("__main__.MLPClassifier", MLPClassifier, raising=False)
    head = MLPClassifier()
    torch.save(head, tmp_path / "500_model.pth")
    assert_equal(read_state_dict(tmp_path / "500_model.pth"), dict(head.state_dict()))


def test_tensors_are_mapped_and_the_file_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    torch.save({"weight": torch.zeros(1000)}, path)
    before = path.read_bytes()
    read_state_dict(path)["weight"].fill_(1.0)
    assert path.read_bytes() == before


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:  # noqa: ANN401
        return self.call


def write(path: Path, program: bytes, **entries: bytes) -> Path:
    """Write a checkpoint whose pickle is `program`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", b"3\n")
        for name, content in entries.items():
            archive.writestr(f"archive/data/{name}", content)
    return path


def numbers(*values: int) -> bytes:
    """Return the opcodes of a tuple of numbers."""
    each = [b"\x8a\x08" + value.to_bytes(8, "little", signed=True) for value in values]
    return b"(" + b"".join(each) + b"t"


def tensor_program(size: bytes, stride: bytes, count: int = 4, key: str = "0") -> bytes:
    """Return a pickle of one tensor."""
    return (
        b"\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(("
        b"X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
         b"X" + struct.pack("<I", len(key)) + key.encode() + b"X\x03\x00\x00\x00cpu"
        + numbers(count)[1:-1] + b"tQK\x00" + size + stride + b"\x89N}tRu."
    )  # fmt: skip


MARK = "evil was here"
HOSTILE = {
    "os.system": Calls(os.system, f"echo {MARK} > evil"),
    "eval": Calls(eval, f"open('evil','w').write('{MARK}')"),
    "exec": Calls(exec, "import os; os.mkdir('evil')"),
    "import": Calls(__import__, "this"),
    "getattr": Calls(getattr, "", "join"),
    "open": Calls(open, "evil", "w"),
    "a file of torch": Calls(torch.load, "evil"),
    "a module of torch": Calls(torch.hub.load, "evil/evil", "evil"),
    "a class of ours": Calls(Path, "evil"),
    "bytearray": Calls(bytearray, 1 << 40),
}
PROGRAMS = {
    "no pickle": b"hello",
    "cut short": b"\x80\x02}(X\x01\x00",
    "nothing": b"",
    "a number": b"I1\n.",
    "an empty dict": b"}.",
    "memo bomb": b"\x80\x02}r\xff\xff\xff\x7f.",
    "memo bomb in text": b"}p99999999999\n.",
    "deep nesting": b"(" * 20_000 + b"t" * 20_000 + b".",
    "deep lists": b"]" + b"]" * 20_000 + b"a" * 20_000 + b".",
    "extension": b"\x82\x01.",
    "a name with dots": b"\x80\x04\x8c\x08builtins\x8c\x0beval.__call\x93.",
    "a long string": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "a long frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"}.",
    "storage outside": tensor_program(numbers(4), numbers(1), key="../../../etc/passwd"),
    "storage missing": tensor_program(numbers(4), numbers(1), key="9"),
    "storage larger than its file": tensor_program(numbers(4), numbers(1), count=1 << 40),
    "tensor beyond its storage": tensor_program(numbers(400), numbers(1)),
    "tensor expanded": tensor_program(numbers(1000000, 1000000), numbers(0, 0)),
    "negative size": tensor_program(numbers(-4), numbers(1)),
    "strange strides": tensor_program(numbers(2, 2), numbers(1, 2)),
    "negative offset": tensor_program(numbers(4), numbers(1)).replace(
        b"QK\x00", b"QJ" + b"\xff" * 4
    ),
    "negative storage": tensor_program(numbers(4), numbers(1), count=-4),
    "storage over the one behind it": tensor_program(numbers(8), numbers(1), count=8),
    "a tensor of gigabytes": b"\x80\x02ctorch\nFloatTensor\n" + numbers(1 << 34) + b"R.",
    "bytes by the gigabyte": b"\x80\x02c__builtin__\nbytearray\n" + numbers(1 << 33) + b"R.",
    "size of text": tensor_program(b"(X\x01\x00\x00\x004t", numbers(1)),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty directory, so that what a pickle writes is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_refused(path: Path) -> None:
    """Check that a file is refused in one line and that nothing else happened."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(BundleError) as error:
        read_state_dict(path)
    said = str(error.value)
    assert said.startswith(f"{path}: cannot be read (")
    assert "\n" not in said
    assert len(said) < 1000
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_call_is_refused(place: Path, name: str) -> None:
    torch.save({"weight": torch.ones(2), "evil": HOSTILE[name]}, place / "model.bin")
    assert_refused(place / "model.bin")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_program_is_refused(place: Path, name: str) -> None:
    assert_refused(write(place / "model.bin", PROGRAMS[name], **{"0": bytes(16)}))


def test_the_programs_are_what_they_seem(place: Path) -> None:
    program = tensor_program(numbers(2, 2), numbers(2, 1))
    pickletools.dis(program, io.StringIO())
    storage = struct.pack("<4f", 1, 2, 3, 4)
    found = read_state_dict(write(place / "model.bin", program, **{"0": storage}))
    assert_equal(found, {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})


def test_a_zip_bomb_is_refused(place: Path) -> None:
    path = place / "model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 26))
    assert_refused(path)


def test_a_pickle_of_gigabytes_is_refused(place: Path) -> None:
    assert_refused(write(place / "model.bin", b"0" * (1 << 25)))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", pickle.dumps({"a": 1}), bytes(1000), b"\x80\x02" * 500]
)
def test_what_is_no_zip_is_refused(place: Path, content: bytes) -> None:
    (place / "model.bin").write_bytes(content)
    assert_refused(place / "model.bin")


@pytest.mark.parametrize("place_of", ["storage", "tensor"])
def test_gigabytes_that_an_old_file_only_claims(place: Path, place_of: str) -> None:
    path = place / "model.bin"
    torch.save({"w": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    assert_equal(read_state_dict(path), {"w": torch.ones(4)})
    old = {"storage": b"K\x04N", "tensor": b"K\x04\x85"}[place_of]
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(b"K\x04" + old[2:], numbers(1 << 33)[1:-1] + old[2:]))
    assert_refused(path)


def test_two_entries_of_one_name_are_refused(place: Path) -> None:
    path = place / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"}.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", pickle.dumps(STATE))
    assert_refused(path)


def test_big_endian_numbers_are_swapped(place: Path) -> None:
    program, storage = tensor_program(numbers(4), numbers(1)), struct.pack(">4f", 1, 2, 3, 4)
    path = write(place / "model.bin", program, **{"0": storage})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", b"big")
    assert_equal(read_state_dict(path), {"w": torch.tensor([1.0, 2.0, 3.0, 4.0])})
    assert storage in path.read_bytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_compressed_storages_are_refused(place: Path, method: int) -> None:
    path = write(place / "model.bin", tensor_program(numbers(4), numbers(1)))
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("archive/data/0", bytes(16))
    assert_refused(path)


@pytest.mark.parametrize("kind", ["before", "behind", "comment"])
def test_a_zip_in_which_two_directories_can_be_found_is_refused(place: Path, kind: str) -> None:
    path = write(place / "model.bin", tensor_program(numbers(4), numbers(1)), **{"0": bytes(16)})
    content = path.read_bytes()
    other = write(place / "other.bin", b"}.").read_bytes()
    if kind == "comment":
        content = content[:-2] + struct.pack("<H", len(other)) + other
    path.write_bytes(other + content if kind == "before" else content + other)
    assert_refused(path)


def test_names_that_differ_in_case_are_refused(place: Path) -> None:
    path = write(place / "model.bin", b"}.")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/DATA.pkl", pickle.dumps(STATE))
    assert_refused(path)


def test_a_missing_file_is_one_line(place: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        read_state_dict(place / "model.bin")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_bytes_changed_anywhere_are_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "model.bin"
    torch.save({name: STATE[name] for name in ("layer.weight", "steps")}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        found = read_state_dict(path)
    except BundleError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert all(isinstance(tensor, Tensor) for tensor in found.values())
