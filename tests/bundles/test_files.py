"""Files of a bundle that are missing, damaged or something else, and pickles among them."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_files import CPU, FILES, MANIFEST, WEIGHTS, put, refusal, rewrite_manifest
from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.manifest import TOKENIZER_FILE
from virnucpro.classify import load_classifier
from virnucpro.errors import BundleError


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_byte_is_noticed(copy: Path, name: str, place: float) -> None:
    content = bytearray((copy / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (copy / name).write_bytes(content)
    expected = "its sha256 is not the manifest's; the bundle is damaged, get it again"
    assert refusal(copy) == f"{copy / name}: {expected}"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("missing", [1, 1000, None], ids=["one byte", "some", "all"])
def test_a_truncated_file_is_noticed(copy: Path, name: str, missing: int | None) -> None:
    content = (copy / name).read_bytes()
    kept = content[: -missing if missing else 0]
    (copy / name).write_bytes(kept)
    expected = f"{len(kept)} bytes where the manifest says {len(content)}; "
    assert refusal(copy) == f"{copy / name}: {expected}the bundle is damaged, get it again"


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_more_at_its_end_is_noticed(copy: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.write(b"\0")
    assert refusal(copy).endswith("the bundle is damaged, get it again")


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
    assert refusal(copy).startswith(f"{copy / name}: cannot be read (not a regular file)")


@pytest.mark.parametrize("name", FILES)
def test_a_fifo_instead_of_a_file_is_not_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    rewrite_manifest(copy, lambda m: m["files"][name].update(bytes=0))
    assert refusal(copy).startswith(f"{copy / name}: cannot be read (not a regular file)")


def test_a_fifo_instead_of_the_manifest_is_not_waited_for(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    os.mkfifo(copy / MANIFEST)
    assert refusal(copy).startswith(f"{copy}: not a bundle ({MANIFEST}: not a regular file)")


@pytest.mark.parametrize("name", FILES)
def test_a_link_to_a_file_will_do(copy: Path, tmp_path: Path, name: str) -> None:
    (copy / name).rename(tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    load_classifier(load_bundle(copy), CPU, torch.float32)


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
    assert refusal(copy).startswith(f"{copy / name}: cannot be read (")
    assert not sentinel.exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_pickled_manifest_is_refused_and_not_run(copy: Path, tmp_path: Path, form: str) -> None:
    sentinel = tmp_path / "sentinel"
    (copy / MANIFEST).write_bytes(pickled(sentinel, form))
    assert refusal(copy).startswith(f"{copy / MANIFEST}: cannot be read (")
    assert not sentinel.exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_pickled_tokenizer_is_refused_and_not_run(copy: Path, tmp_path: Path, form: str) -> None:
    sentinel = tmp_path / "sentinel"
    put(copy, TOKENIZER_FILE, pickled(sentinel, form))
    with pytest.raises(BundleError, match="give a byte-pair tokenizer"):
        load_bundle(copy).tokenizer()
    assert not sentinel.exists()


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


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_a_flipped_bit_of_the_manifest_is_no_crash(
    tiny_bundle: Bundle, scratch: Path, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(tiny_bundle.path, scratch, dirs_exist_ok=True))
    content = (directory / MANIFEST).read_bytes()
    (directory / MANIFEST).write_bytes(flipped(content, len(content), data))
    if not loads_or_is_refused(directory):
        assert str(directory) in refusal(directory)


@settings(deadline=None, max_examples=20)
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
