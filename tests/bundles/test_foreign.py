"""Hostile files of every kind: refused in one line, at once, with little memory."""

import json
import os
import resource
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from processes import run
from published_files import DNA_WIDTH, WIDTH, Files, MLPClassifier
from virnucpro.bundles import load_bundle
from virnucpro.bundles.assemble import add_bundle, add_encoder, bundle_with_head
from virnucpro.bundles.registry import sha256_of
from virnucpro.bundles.torch_files import read_state_dict
from virnucpro.bundles.weights import read_weights
from virnucpro.encoders import DnaTokenizer
from virnucpro.errors import BundleError

pytestmark = pytest.mark.usefixtures("home")
SECONDS = 10


@contextmanager
def in_time() -> Iterator[None]:
    """Fail when something takes longer than ten seconds, as a machine under load needs for it."""

    def fail(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(call: Callable[[], object]) -> str:
    with in_time(), pytest.raises(BundleError) as error:
        call()
    assert str(error.value).isprintable()
    return str(error.value)


def pickled(path: Path, program: bytes, storage: bytes = b"") -> Path:
    """Write a checkpoint of a program and one storage."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", storage)
    return path


def nested() -> bytes:
    """Return steps that build a tuple of the same tuple twice, sixty times over."""
    return b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))


def shaped(*sizes: int) -> bytes:
    """Return a tensor of many dimensions."""
    size = b"(" + b"K\x01" * (len(sizes)) + b"t"
    head = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(("
    storage = (
        b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    )
    return head + storage + b"K\x01tQK\x00" + size + size + b"\x89NtRs."


def modules() -> bytes:
    """Return modules that are each in the one before a thousand times."""
    program = b"\x80\x02"
    new = b"ctorch.nn.modules.linear\nLinear\n)\x81"
    program += new + b"q\x00"
    for level in range(6):
        names = b"".join(b"X\x04\x00\x00\x00%04dh%c" % (i, level) for i in range(200))
        program += new + b"}X\x08\x00\x00\x00_modules}(" + names + b"usb" + b"q%c" % (level + 1)
    return program + b"."


def colliding() -> bytes:
    """Return a dict of numbers that all have the same hash."""
    keys = [(i * ((1 << 61) - 1)).to_bytes(16, "little") for i in range(1, 130_000)]
    return b"\x80\x02}(" + b"".join(b"\x8a\x10" + key + b"N" for key in keys) + b"u."


PROGRAMS = {
    "a key of nested tuples": (b"\x80\x02}" + nested() + b"K\x01s.", "a tuple of more than 256"),
    "a set of nested tuples": (
        b"\x80\x02c__builtin__\nset\n]" + nested() + b"a\x85R.",
        "a tuple of more than 256",
    ),
    "100,000 dimensions": (shaped(*[1] * 100_000), "a tuple of more than 256"),
    "nine dimensions": (shaped(*[1] * 9), "a tensor of 9 dimensions"),
    "modules in modules": (modules(), "modules within modules without end"),
    "a million steps": (b"\x80\x02" + b"N" * 600_000 + b"}.", "steps"),
    "a number of a megabyte": (
        b"\x8b\x00\x00\x10\x00" + b"\x01" * (1 << 20) + b".",
        "a number that no size needs",
    ),
    "a key of tuples in tuples, the last": (
        b"\x80\x02})" + b"\x85" * 260_000 + b"Ns.",
        "a tuple of more than 256",
    ),
    "a key of tuples in tuples, the first": (
        b"\x80\x02})" + b"N\x86" * 200_000 + b"Ns.",
        "a tuple of more than 256",
    ),
    "keys of the same hash": (colliding(), "a number that no size needs"),
    "a memo beyond all": (b"\x80\x02}r\xff\xff\xff\x7fj\xff\xff\xff\x7f.", "holds no weights"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_pickle(tmp_path: Path, name: str) -> None:
    program, told = PROGRAMS[name]
    path = pickled(tmp_path / "head.pth", program, bytes(4))
    assert told in refused(lambda: read_state_dict(path))


def test_a_zip_of_a_directory_of_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    entry = b"PK\x01\x02" + bytes(42)
    directory = entry * 100_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0, 0, len(directory), 4, 0)
    path.write_bytes(b"PK\x03\x04" + directory + end)
    assert "a directory of 4,600,000 bytes" in refused(lambda: read_state_dict(path))


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "dangling"])
@pytest.mark.parametrize("part", ["weights", "config.json", "tokenizer.json"])
def test_what_is_no_regular_file_is_not_opened(
    files: Files, tmp_path: Path, kind: str, part: str
) -> None:
    path = files.dna / ("pytorch_model.bin" if part == "weights" else part)
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else tmp_path / "nowhere")
    assert str(files.dna) in refused(lambda: add_encoder("mine", files.dna))


@pytest.mark.parametrize(
    "content",
    [
        '{"weight_map": {"a": "\\ud800.bin"}}',
        '{"weight_map": {"a": "b\\u0000.bin"}}',
        '{"weight_map": {"a": "' + "b" * 5000 + '.bin"}}',
        '{"weight_map": {"a": "b.bin"' + ', "c": {"d": 1' * 50_000,
        "[" * 100_000,
        '{"weight_map": ' + "1" * 5000 + "}",
        json.dumps({"weight_map": {str(i): f"{i}.bin" for i in range(2000)}}),
        " " * (1 << 23),
    ],
    ids=["surrogate", "nul", "long name", "deep", "deeper", "number", "many files", "long"],
)
def test_a_hostile_index(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert str(tmp_path) in refused(lambda: read_weights(tmp_path))


def tokenizer(tokens: int, merges: list[str]) -> bytes:
    """Return a tokenizer of two-letter tokens."""
    letters = [chr(0x4E00 + i) for i in range(tokens)]
    vocabulary = dict.fromkeys(["[CLS]", "[SEP]", "[UNK]", *letters])
    vocabulary |= dict.fromkeys(merge.replace(" ", "") for merge in merges)
    numbered = {token: number for number, token in enumerate(vocabulary)}
    return json.dumps({"model": {"vocab": numbered, "merges": merges}}).encode()


def test_a_tokenizer_whose_table_would_take_gigabytes() -> None:
    pairs = [f"{chr(0x4E00 + i)} {chr(0x4E00 + 10_000 + i)}" for i in range(10_000)]
    content = tokenizer(20_000, pairs)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "10,000 times 10,000 pairs" in refused(lambda: DnaTokenizer(content))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_a_tokenizer_whose_merges_each_wait_for_the_one_before() -> None:
    merges = [f"{'A' * i} A" for i in range(1, 400)]
    content = tokenizer(0, merges).replace(b'"[UNK]": 2', b'"[UNK]": 2, "A": 60000')
    assert "more than 256 passes" in refused(lambda: DnaTokenizer(content))


@pytest.mark.parametrize("token_id", ["1.5", '"1"', "true", "1e999", "-1", "99999999999999999999"])
def test_a_token_whose_id_is_none(tokenizer_json: bytes, token_id: str) -> None:
    content = tokenizer_json.replace(b'"[UNK]":', b'"[UNK]":' + token_id.encode() + b',"x":', 1)
    assert content != tokenizer_json
    refused(lambda: DnaTokenizer(content))


def test_a_safetensors_file_of_a_thousand_dimensions(tmp_path: Path) -> None:
    described = {"a": {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]}}
    header = json.dumps(described).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "has 100,000 dimensions" in refused(lambda: read_weights(path))


def test_a_head_of_tied_tensors(files: Files, home: Path, tmp_path: Path) -> None:
    add_bundle("mine", files, 500)
    state = MLPClassifier(DNA_WIDTH + WIDTH).state_dict()
    state["bn1.running_mean"] = state["bn1.bias"]
    torch.save(state, tmp_path / "tied.pth")
    made = load_bundle(bundle_with_head("mine", tmp_path / "tied.pth"))
    found = load_file(made.path / "head.safetensors")
    assert torch.equal(found["bn1.running_mean"], found["bn1.bias"])
    assert made.path.parent == home / ".derived"


def test_a_head_with_more_than_a_head_has(files: Files, tmp_path: Path) -> None:
    add_bundle("mine", files, 500)
    state = MLPClassifier(DNA_WIDTH + WIDTH).state_dict()
    save_file(state | {"third_layer.weight": torch.ones(2)}, tmp_path / "more.safetensors")
    said = refused(lambda: bundle_with_head("mine", tmp_path / "more.safetensors"))
    assert "third_layer.weight is no tensor of a VirNucPro head" in said
    wide = {name: t.double() if t.is_floating_point() else t for name, t in state.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    said = refused(lambda: bundle_with_head("mine", tmp_path / "wide.safetensors"))
    assert "is float64; save the weights as float32" in said


def test_the_digests_of_a_bundles_files_are_taken_once(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = add_bundle("mine", files, 500)
    taken: list[Path] = []

    def digest(path: Path) -> str:
        taken.append(path)
        return sha256_of(path)

    for module in ("bundle_files", "assemble", "published_parts"):
        name = f"virnucpro.bundles.{module}.sha256_of"
        monkeypatch.setattr(name, digest)
    for _ in range(2):  # made, then found again
        taken.clear()
        load_bundle(bundle_with_head("mine", files.head_300), is_checked=True).check()
        large = [path for path in taken if "encoder" in path.name]
        assert [path.name for path in large] == [
            "protein_encoder.safetensors",
            "dna_encoder.safetensors",
        ]
    assert bundle.path != taken[-1].parent


def test_names_that_no_file_system_takes(tmp_path: Path) -> None:
    for name in ("a" * 5000, "a\0b", f"{tmp_path}/{'a' * 300}"):
        refused(partial(load_bundle, name))
        refused(partial(add_encoder, "mine", name))
        refused(partial(bundle_with_head, "compact-pair", Path(name)))


def test_a_fifo_is_refused_from_the_command_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = run("models", "add", "mine", tmp_path / "fifo")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "fifo: cannot be read (not a regular file)" in done.stderr
