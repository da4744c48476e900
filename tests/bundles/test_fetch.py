"""Fetching published bundles and encoders from a server that stands in for the hub."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub import COMMIT, DNA, ESM2, ESM2_8M, Hub, models, start
from published_files import Files, spoil
from virnucpro.bundles.bundle_files import read_manifest
from virnucpro.bundles.digests import record
from virnucpro.bundles.fetch import fetch as fetch_published
from virnucpro.bundles.fetch import fetch_head, fetch_model
from virnucpro.bundles.registry import ENCODERS, PUBLISHED, sha256_of
from virnucpro.bundles.store import bundle_path
from virnucpro.encoders.table import spec_named
from virnucpro.errors import BundleError

BUNDLE, ENCODER = "virnucpro-500", "esm2_t6_8M_UR50D"


def fetch(files: Files, name: str = BUNDLE) -> tuple[int, str, str]:
    """Fetch; return status, output and the last line of what was said."""
    return models(files, "fetch", name)


def test_a_bundle_is_fetched_once(files: Files, hub: Hub, tmp_path: Path) -> None:
    status, out, said = fetch(files)
    assert status == 0, said
    assert "use it with virnucpro predict --bundle virnucpro-500" in out
    fetched = [key for key, _ in hub.transfers]
    assert sorted(set(fetched)) == sorted(fetched)
    assert not any(key.endswith("pytorch_model.bin") and ESM2 in key for key in fetched)
    hub.status = 500
    assert fetch(files)[0] == 0
    assert (tmp_path / "bundles" / "virnucpro-500" / "bundle.json").is_file()


def test_an_interrupted_transfer_goes_on_where_it_stopped(files: Files, hub: Hub) -> None:
    name, large = ENCODER, f"{ESM2_8M}/model.safetensors"
    hub.cut.add(large)
    status, _, said = fetch(files, name)
    if status:  # what the library did not try again by itself
        status, _, said = fetch(files, name)
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
    ("name", "answer", "told"),
    [
        (BUNDLE, 401, "401"),
        (BUNDLE, 403, "403"),
        (BUNDLE, 404, "has none of"),
        (BUNDLE, 503, "503"),
        (ENCODER, 401, "401"),
        (ENCODER, 404, "has none of"),
    ],
)
def test_a_hub_that_refuses(files: Files, hub: Hub, name: str, answer: int, told: str) -> None:
    if answer == 404:
        hub.files = {}
    else:
        hub.status = answer
    status, _, said = fetch(files, name)
    assert status == 1
    assert said.startswith(f"virnucpro: error: {ESM2 if name == BUNDLE else ESM2_8M}")
    assert told in said


@pytest.mark.parametrize(
    "mirror", ["http://host:port", "http://a host", "ftp://host", "http://[::"]
)
def test_a_mirror_of_heads_that_is_no_url(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRNUCPRO_HEADS_URL", mirror)
    with pytest.raises(BundleError, match="300_model") as error:
        fetch_head(PUBLISHED["virnucpro-300"])
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("hub")
def test_no_network(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    start = time.monotonic()
    status, _, said = fetch(files, ENCODER)
    assert time.monotonic() - start < 15  # the library would ask for half a minute
    assert status == 1
    assert "127.0.0.1:1: cannot be fetched ([Errno 111] Connection refused); " in said
    assert "virnucpro models add" in said
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, _, said = fetch(files, ENCODER)
    assert status == 1
    assert "is not in the cache, and HF_HUB_OFFLINE keeps it from being fetched" in said


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virnucpro.bundles.fetch._SECONDS", 0.2)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda *_, **__: time.sleep(1))
    waits: list[str] = []
    with pytest.raises(BundleError, match=r"cannot be fetched \(no answer within 0.2 s\)"):
        fetch_model("some/model", "main", (), waits.append)
    assert waits == ["asking huggingface.co for some/model (at most 0.2 s)"]


@pytest.mark.usefixtures("home")
def test_the_terms_of_weights_are_told_before_they_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise BundleError("stop")

    monkeypatch.setattr("virnucpro.bundles.fetch.fetch_model", stop)
    said: list[str] = []
    with pytest.raises(BundleError, match="stop"):
        fetch_published("esmc-600m", said.append)
    assert said[0].startswith("EvolutionaryScale/esmc-600m-2024-12: published under the Cambrian ")


def test_a_full_cache_without_network(
    files: Files, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(files)[0] == 0
    shutil.rmtree(tmp_path / "bundles" / "virnucpro-500")
    hub.status = 500
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    status, out, said = fetch(files)
    assert status == 0, said
    assert "use it with virnucpro" in out


def test_two_processes_fetch_at_once(files: Files, hub: Hub, home: Path) -> None:
    name = BUNDLE
    both = [start(files, "models", "fetch", name) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [path.name for path in home.iterdir() if path.is_dir() and path.name != ".heads"] == [
        name
    ]
    assert hub.transfers


def test_an_unknown_name_is_one_line(files: Files, hub: Hub) -> None:
    status, _, said = fetch(files, "virnucpro-700")
    assert status == 1
    told = "virnucpro: error: virnucpro-700: can be fetched: virnucpro-300, virnucpro-500, esm2_t6"
    assert said.startswith(told)
    assert not hub.transfers


# A full disk


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """Mount a disk of so many bytes."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize(("name", "place"), [(BUNDLE, "hf"), (ENCODER, "bundles")])
def test_a_full_disk_is_one_line_and_fetching_goes_on_with_space(
    files: Files, hub: Hub, tmp_path: Path, name: str, place: str
) -> None:
    with small_disk(tmp_path / place, "2m"):
        process = start(files, "models", "fetch", name)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1
        *waits, last = said.splitlines()
        assert last.startswith("virnucpro: error: ")
        assert all(line.startswith(("asking ", "getting ")) for line in waits)
        assert "No space left on device" in last
        assert not (tmp_path / "bundles" / name).exists()
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path / place], check=True)
        status, _, said = fetch(files, name)
        assert status == 0, said
    assert hub.transfers


# Digests that are recorded


def verified(name: str) -> None:
    """Do what `models verify` does when the network gave the published outputs."""
    title = spec_named(ENCODERS[name].architecture).title
    assert record(ENCODERS[name], read_manifest(bundle_path(name))[0].provenance[title])


def test_another_file_than_the_one_verified_is_refused(
    files: Files, hub: Hub, home: Path, tmp_path: Path
) -> None:
    served = hub.files[f"{ESM2_8M}/model.safetensors"]
    first = sha256_of(served)
    said = f"sha256 {first} (as {ESM2_8M} has it at {COMMIT})"
    assert said in fetch(files, ENCODER)[1]
    assert not (home / ".digests.json").exists()  # nothing is recorded because of a name
    verified(ENCODER)
    assert f'"commit": "{COMMIT}"' in (home / ".digests.json").read_text()
    shutil.rmtree(home / ENCODER)
    assert f"sha256 {first} (as recorded on 2" in fetch(files, ENCODER)[1]
    shutil.rmtree(home / ENCODER)
    shutil.rmtree(tmp_path / "hf")
    spoil(served)
    second = sha256_of(served)
    given = tmp_path / "given" / "model.safetensors"
    given.parent.mkdir()
    shutil.copy(served, given)
    for command in (("fetch", ENCODER), ("add", ENCODER, given)):
        status, _, said = models(files, *command)
        assert status == 1
        start = f"{ESM2_8M}/model.safetensors: has sha256 {second} where {first} was recorded on 2"
        assert said.startswith(f"virnucpro: error: {start}")
        assert f"remove its entry from {home / '.digests.json'}" in said
        assert not (home / ENCODER).exists()
    status, out, said = models(files, "add", "mine", given)
    assert status == 0, said
    assert "(no published digest is known of it)" in out


def test_records_that_cannot_be_read(files: Files, hub: Hub, home: Path) -> None:
    home.mkdir()
    (home / ".digests.json").write_text("[")
    status, _, said = fetch(files, ENCODER)
    assert status == 1
    assert said.startswith(f"virnucpro: error: {home / '.digests.json'}: cannot be read (")
    assert hub.transfers


# Lone encoders, and what is here already


@pytest.mark.parametrize(
    ("name", "label", "file"),
    [
        (ENCODER, "ESM-2", "model.safetensors"),
        ("dnabert-s", "DNABERT-S", "pytorch_model.bin"),
        ("esmc-300m", "ESM C", "esmc_300m_2024_12_v0.pth"),
    ],
)
def test_a_lone_encoder_is_fetched_once_listed_and_found(
    files: Files, hub: Hub, home: Path, name: str, label: str, file: str
) -> None:
    status, out, said = fetch(files, name)
    assert status == 0, said
    assert out.startswith(f"{label}: {file} sha256 ")
    assert f" has it at {COMMIT})" in out
    assert f"use it with virnucpro embed --model {name} ({home / name})" in out
    hub.status = 500
    assert fetch(files, name)[0] == 0
    assert models(files, "path", name)[1].strip() == str(home / name)
    listed = models(files, "list")[1]
    assert str(home / name) in listed
    assert f"models fetch {name}" not in listed
    assert "models fetch esm2_t33_650M_UR50D" in listed


def test_an_encoder_of_other_sizes_than_its_name_says(files: Files, hub: Hub, home: Path) -> None:
    for file in ("model.safetensors", "config.json"):
        hub.files[f"facebook/esm2_t12_35M_UR50D/{file}"] = hub.files[f"{ESM2_8M}/{file}"]
    status, _, said = fetch(files, "esm2_t12_35M_UR50D")
    assert status == 1
    assert "2 layers, width 320 and 20 heads, but esm2_t12_35M_UR50D is ESM-2 with" in said
    assert not (home / ".digests.json").exists()


def fetched_since(hub: Hub, files: Files, name: str) -> set[str]:
    """Fetch, and return what was transferred."""
    hub.transfers.clear()
    status, _, said = fetch(files, name)
    assert status == 0, said
    return {key for key, _ in hub.transfers}


def test_what_is_here_is_linked_and_not_fetched(
    files: Files, hub: Hub, home: Path, tmp_path: Path
) -> None:
    for name in ("esm2_t36_3B_UR50D", "dnabert-s"):
        assert fetch(files, name)[0] == 0
    shutil.rmtree(tmp_path / "hf")
    assert fetched_since(hub, files, BUNDLE) == {"500_model.pth"}
    for name in ("esm2_t36_3B_UR50D", "dnabert-s"):
        shutil.rmtree(home / name)
    assert fetched_since(hub, files, "virnucpro-300") == {"300_model.pth"}
    assert fetched_since(hub, files, "esm2_t36_3B_UR50D") == set()
    weights = list(home.glob("*/protein_encoder.safetensors"))
    assert len(weights) == 3
    assert {path.stat().st_ino for path in weights} == {weights[0].stat().st_ino}
    for path in home.glob("*/bundle.json"):  # now nothing is known of what is here
        path.write_text(path.read_text().replace(" has it at ", " had it at "))
    shutil.rmtree(home / BUNDLE)
    assert f"{ESM2}/model-00001-of-00002.safetensors" in fetched_since(hub, files, BUNDLE)
