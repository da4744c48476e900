"""Fetching published bundles from a server that stands in for the hub."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Hub, serving
from published_files import Files, sharded, written
from virnucpro.bundles.registry import git_blob_id

ESM2, DNA = "facebook/esm2_t36_3B_UR50D", "zhihan1996/DNABERT-S"
#: Lets a process take the stand-in's head, whose digest cannot be the published one, for it; and
#: lets small files come in many parts.
PATCHED = """
import sys
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 1 << 16
from virnucpro.bundles.registry import PUBLISHED
PUBLISHED["virnucpro-500"] = PUBLISHED["virnucpro-500"]._replace(head_blob=sys.argv.pop(1))
from virnucpro.cli.app import main
main()
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return published files of small random models, ESM-2 in two files with an index."""
    return sharded(written(tmp_path / "published"))


@pytest.fixture
def hub(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve the files; the usual environment leads to them."""
    served = {f"{ESM2}/{path.name}": path for path in files.esm2.iterdir()}
    served |= {f"{DNA}/{path.name}": path for path in files.dna.iterdir()}
    with serving(Hub(served | {"500_model.pth": files.head})) as hub:
        for name, value in {
            "HF_ENDPOINT": hub.url,
            "VIRNUCPRO_HEADS_URL": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "VIRNUCPRO_HOME": str(tmp_path / "bundles"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_ETAG_TIMEOUT": "5",
        }.items():
            monkeypatch.setenv(name, value)
        yield hub


def start(files: Files, *arguments: str) -> "subprocess.Popen[str]":
    """Start `virnucpro models ARGUMENTS` in a process that takes the stand-in's head."""
    command = [sys.executable, "-c", PATCHED, git_blob_id(files.head), "models", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def fetch(files: Files) -> tuple[int, str, str]:
    """Fetch; return status, output and the last line of what was said."""
    process = start(files, "fetch", "virnucpro-500")
    out, said = process.communicate(timeout=120)
    assert "Traceback" not in said
    return process.returncode, out, (said.strip().splitlines() or [""])[-1]


def test_a_bundle_is_fetched_once(files: Files, hub: Hub, tmp_path: Path) -> None:
    status, out, said = fetch(files)
    assert status == 0, said
    assert "predict --bundle virnucpro-500 takes it now" in out
    fetched = [key for key, _ in hub.transfers]
    assert sorted(set(fetched)) == sorted(fetched)
    assert not any(key.endswith("pytorch_model.bin") and ESM2 in key for key in fetched)
    hub.status = 500
    assert fetch(files)[0] == 0
    assert (tmp_path / "bundles" / "virnucpro-500" / "bundle.json").is_file()


def test_an_interrupted_transfer_goes_on_where_it_stopped(files: Files, hub: Hub) -> None:
    large = f"{ESM2}/model-00001-of-00002.safetensors"
    hub.cut.add(large)
    status, _, said = fetch(files)
    if status:  # what the library did not try again by itself
        status, _, said = fetch(files)
    assert status == 0, said
    starts = [first for key, first in hub.transfers if key == large]
    assert starts[0] == 0 < starts[-1]


@pytest.mark.parametrize("name", [f"{ESM2}/model-00002-of-00002.safetensors", f"{DNA}/config.json"])
def test_content_that_is_not_what_the_hub_says(files: Files, hub: Hub, name: str) -> None:
    hub.wrong.add(name)
    status, _, said = fetch(files)
    assert status == 1
    assert "is not what the hub says it is; it is deleted, fetch again" in said
    hub.wrong.clear()
    assert fetch(files)[0] == 0


def test_a_head_that_is_not_the_published_one(files: Files, hub: Hub, tmp_path: Path) -> None:
    hub.wrong.add("500_model.pth")
    status, _, said = fetch(files)
    assert status == 1
    assert "is not the published 500_model.pth; nothing was kept" in said
    assert not list((tmp_path / "bundles").glob("**/*.pth"))


@pytest.mark.parametrize(
    ("answer", "told"), [(401, "401"), (403, "403"), (404, "has none of"), (503, "503")]
)
def test_a_hub_that_refuses(files: Files, hub: Hub, answer: int, told: str) -> None:
    if answer == 404:
        hub.files = {}
    else:
        hub.status = answer
    status, _, said = fetch(files)
    assert status == 1
    assert said.startswith(f"virnucpro: error: {ESM2}")
    assert told in said


@pytest.mark.usefixtures("hub")
def test_no_network(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    status, _, said = fetch(files)
    assert status == 1
    assert "cannot be fetched" in said
    assert "virnucpro models add" in said


def test_offline_with_a_full_cache(files: Files, hub: Hub, tmp_path: Path) -> None:
    assert fetch(files)[0] == 0
    shutil.rmtree(tmp_path / "bundles" / "virnucpro-500")
    hub.status = 500
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        status, _, said = fetch(files)
    finally:
        del os.environ["HF_HUB_OFFLINE"]
    assert status == 0, said


def test_two_processes_fetch_at_once(files: Files, hub: Hub, tmp_path: Path) -> None:
    both = [start(files, "fetch", "virnucpro-500") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [p.name for p in (tmp_path / "bundles").iterdir() if p.name[0] != "."] == [
        "virnucpro-500"
    ]
    assert hub.transfers


def test_an_unknown_name_is_one_line(files: Files, hub: Hub) -> None:
    process = start(files, "fetch", "virnucpro-700")
    _, said = process.communicate()
    assert process.returncode == 1
    assert (
        said.strip()
        == "virnucpro: error: virnucpro-700: can be fetched: virnucpro-300, virnucpro-500"
    )
    assert not hub.transfers
