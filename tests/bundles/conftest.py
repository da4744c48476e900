"""A bundle to damage."""

import shutil
from pathlib import Path

import pytest

from virnucpro.bundles import Bundle


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """Return a directory with a bundle that the test may damage."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "copy"))
