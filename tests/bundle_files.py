"""Bundles changed on purpose, and the one line that damaged ones are refused with."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from virnucpro.bundles import load_bundle
from virnucpro.bundles.manifest import (
    DNA_FILE,
    HEAD_FILE,
    MANIFEST_FILE,
    PROTEIN_FILE,
    TOKENIZER_FILE,
)
from virnucpro.classify import load_classifier
from virnucpro.errors import BundleError

Json = dict[str, Any]
CPU = torch.device("cpu")
MANIFEST = MANIFEST_FILE
WEIGHTS = (PROTEIN_FILE, DNA_FILE, HEAD_FILE)
#: Every file of a bundle with two encoders beside its manifest.
FILES = (*WEIGHTS, TOKENIZER_FILE)


def refusal(directory: Path) -> str:
    """Load a bundle and its network, which must fail, and return the one line it fails with."""
    with pytest.raises(BundleError) as caught:
        load_classifier(load_bundle(directory), CPU, torch.float32)
    message = str(caught.value)
    assert message.isprintable()
    return message


def without_calibration(directory: Path) -> Path:
    """Copy `compact` there, but for its calibration."""
    shutil.copytree(load_bundle("compact").path, directory)
    rewrite_manifest(directory, lambda manifest: manifest.pop("calibration"))
    return directory


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


def set_in(part: str, **values: object) -> Callable[[Json], object]:
    """Return an edit of one part of the manifest."""

    def edit(manifest: Json) -> None:
        manifest[part].update(values)

    return edit
