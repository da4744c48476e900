"""A bundle to damage, published files, and a server that stands in for the hub."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import DNA, ESM2, ESM2_8M, ESM_C, Hub, serving
from published_files import Files, sharded, written
from virnucpro.bundles import Bundle


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """Return a directory with a bundle that the test may damage."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "copy"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep added bundles in the test's directory."""
    monkeypatch.setenv("VIRNUCPRO_HOME", str(tmp_path / "bundles"))
    return tmp_path / "bundles"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return published files of small random models."""
    return written(tmp_path / "published")


@pytest.fixture
def hub(
    files: Files,
    home: Path,  # noqa: ARG001 (where what is fetched goes)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Hub]:
    """Serve the files; the usual environment leads to them.

    The ESM-2 is there twice: as the 8M in one file, as the 3B in two with an index.
    """
    served = {f"{ESM2_8M}/model.safetensors": tmp_path / "whole.safetensors"}
    shutil.copy(files.esm2 / "model.safetensors", tmp_path / "whole.safetensors")
    served |= {f"{ESM2}/{path.name}": path for path in sharded(files).esm2.iterdir()}
    served[f"{ESM2_8M}/config.json"] = files.esm2 / "config.json"
    served |= {f"{DNA}/{path.name}": path for path in files.dna.iterdir()}
    weights = files.esm_c.glob("**/*.pth")
    served |= {f"{ESM_C}/{path.relative_to(files.esm_c)}": path for path in weights}
    served |= {head.name: head for head in (files.head, files.head_300)}
    with serving(Hub(served)) as hub:
        for name, value in {
            "HF_ENDPOINT": hub.url,
            "VIRNUCPRO_HEADS_URL": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_ETAG_TIMEOUT": "5",
        }.items():
            monkeypatch.setenv(name, value)
        yield hub
