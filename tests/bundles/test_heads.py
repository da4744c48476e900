"""Bundles with another head: the encoders are linked, what was made once is found again."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bundle_files import FILES
from published_files import DNA_WIDTH, WIDTH, Files, MLPClassifier
from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.assemble import add_bundle, bundle_with_head
from virnucpro.bundles.manifest import HEAD_FILE, PROTEIN_FILE
from virnucpro.bundles.registry import PUBLISHED, git_blob_id
from virnucpro.bundles.store import added_bundles
from virnucpro.classify import load_classifier
from virnucpro.errors import BundleError

#: The files that a bundle with another head shares with the first.
SHARED = set(FILES) - {HEAD_FILE}


@pytest.fixture
def bundle(files: Files, home: Path) -> Bundle:
    made = add_bundle("mine", files, 500)
    assert made.path == home / "mine"
    return made


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """Return a head as it is published: a pickle of the whole module."""
    path = tmp_path / "other_model.pth"
    MLPClassifier.__module__ = "__main__"  # the name that the published pickles have
    try:
        import __main__  # noqa: PLC0415

        __main__.MLPClassifier = MLPClassifier
        torch.manual_seed(9)
        torch.save(MLPClassifier(WIDTH + DNA_WIDTH), path)
    finally:
        MLPClassifier.__module__ = "published_files"
    return path


def test_encoders_are_linked_and_the_head_is_the_given_one(bundle: Bundle, head: Path) -> None:
    other = load_bundle(bundle_with_head("mine", head))
    assert (other.manifest.name, other.manifest.chunk_lengths) == ("mine+other_model.pth", (500,))
    assert other.manifest.provenance["head"].startswith("other_model.pth sha256 ")
    assert other.manifest.provenance["ESM-2"] == bundle.manifest.provenance["ESM-2"]
    for file in SHARED:
        assert (other.path / file).samefile(bundle.path / file)
    network = load_classifier(other, torch.device("cpu"), torch.float32)
    torch.manual_seed(9)
    expected = MLPClassifier(WIDTH + DNA_WIDTH).hidden_layer.weight
    assert torch.equal(network.head.hidden_layer.weight, expected)


def test_files_are_copied_where_they_cannot_be_linked(
    bundle: Bundle, head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    other = load_bundle(bundle_with_head("mine", head))
    assert not (other.path / PROTEIN_FILE).samefile(bundle.path / PROTEIN_FILE)


@pytest.mark.usefixtures("bundle")
def test_a_published_head_says_its_chunk_length(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = PUBLISHED["virnucpro-300"]._replace(head_blob=git_blob_id(head))
    monkeypatch.setitem(PUBLISHED, "virnucpro-300", published)
    other = load_bundle(bundle_with_head("mine", head))
    assert other.manifest.chunk_lengths == (300,)
    assert other.manifest.provenance["head"].endswith("(as published)")


@pytest.mark.usefixtures("bundle")
def test_heads_that_do_not_fit(files: Files, home: Path, tmp_path: Path) -> None:
    save_file(MLPClassifier(7).state_dict(), tmp_path / "small.safetensors")
    for path, told in (
        (tmp_path / "small.safetensors", "takes 7 numbers a frame where these encoders give"),
        (files.esm2 / "model.safetensors", "no head but ESM-2"),
        (tmp_path / "missing.pth", "no such file"),
    ):
        with pytest.raises(BundleError, match=told) as error:
            bundle_with_head("mine", path)
        assert str(error.value).startswith(f"{path}: ")
    assert not list(home.glob(".derived/*"))


def test_what_was_made_once_is_found_again(bundle: Bundle, head: Path, home: Path) -> None:
    path = bundle_with_head("mine", head)
    assert path.parent == home / ".derived"
    before = (path / HEAD_FILE).stat()
    assert bundle_with_head(str(bundle.path), head) == path
    assert (path / HEAD_FILE).stat() == before
    assert load_bundle(path).manifest.name == "mine+other_model.pth"
    assert added_bundles() == ["mine"]
    (path / HEAD_FILE).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=f"remove {path}, it is then made again"):
        bundle_with_head("mine", head)
    shutil.rmtree(path)
    assert bundle_with_head("mine", head) == path


@pytest.mark.usefixtures("bundle")
def test_many_at_once_make_one(head: Path, home: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: bundle_with_head("mine", head), range(4)))
    assert list((home / ".derived").iterdir()) == found[:1]
    assert set(found) == set(found[:1])
    load_bundle(found[0])
