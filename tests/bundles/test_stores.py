"""Where bundles lie: a store that cannot be written, the umask, and damaged ones among others."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundle_files import rewrite_manifest
from published_files import Files
from virnucpro.bundles import load_bundle
from virnucpro.bundles.assemble import add_bundle, add_encoder, bundle_with_head
from virnucpro.bundles.manifest import DNA_FILE, HEAD_FILE, PROTEIN_FILE
from virnucpro.bundles.store import added_bundles, added_encoders
from virnucpro.cli.app import app
from virnucpro.errors import BundleError

NOBODY = 65_534


def listed() -> dict[str, str]:
    """Return what `models list` says of each name."""
    done = CliRunner().invoke(app, ["models", "list"])
    assert (done.exit_code, done.exception, done.stderr) == (0, None, "")
    assert all(line.isprintable() for line in done.stdout.splitlines())
    return {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Be a user who may not write what root wrote."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Return a directory that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_shared_store_that_cannot_be_written(
    files: Files, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, own = open_place / "shared", open_place / "own"
    monkeypatch.setenv("VIRNUCPRO_HOME", str(shared))
    monkeypatch.setenv("XDG_DATA_HOME", str(own))
    shared.mkdir()
    add_bundle("theirs", files, 500)
    head = Path(shutil.copy(files.head_300, open_place))
    encoder = Path(shutil.copytree(files.esm2, open_place / "esm2"))
    (encoder / "model.safetensors").chmod(0o644)
    own.mkdir()
    own.chmod(0o777)
    shared.chmod(0o555)
    listed()  # somebody else cannot read what it imports
    with as_somebody_else():
        place = bundle_with_head("theirs", head)
        load_bundle(place)
        assert place.parent == own / "virnucpro" / "bundles" / ".derived"
        assert bundle_with_head("theirs", head) == place
        assert add_encoder("mine", encoder).path == own / "virnucpro" / "bundles" / "mine"
        with pytest.raises(BundleError, match=f"{shared / 'theirs'}: is there already"):
            add_encoder("theirs", encoder)
        assert (added_bundles(), added_encoders()) == (["theirs"], ["mine"])
        assert str(shared / "theirs") in listed()["theirs"]
    shared.chmod(0o755)
    assert added_encoders() == []  # of those who can write the store, it is the only one


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_new_directories_and_files_follow_the_umask(files: Files, home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        add_bundle("mine", files, 500)
        derived = bundle_with_head("mine", files.head_300)
    finally:
        os.umask(before)
    for path in (home, home / "mine", derived.parent, derived):
        assert path.stat().st_mode & 0o777 == 0o777 & ~umask
    for path in (*(home / "mine").iterdir(), *derived.iterdir()):
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_is_damaged_is_listed_with_the_reason(files: Files, home: Path) -> None:
    for name in ("good", "format", "short", "headless", "lost"):
        add_bundle(name, files, 500)
    rewrite_manifest(home / "format", lambda manifest: manifest.update(format=2))
    os.truncate(home / "short" / DNA_FILE, 5)
    (home / "headless" / HEAD_FILE).unlink()
    (home / "lost" / "bundle.json").unlink()
    (home / "red\x1b[31m").mkdir()
    (home / "red\x1b[31m" / "bundle.json").touch()
    (home / "pictures").mkdir()  # no bundle at all
    found = listed()
    assert found["good"].startswith("bundle 1, chunks of 500 bp")
    for name, reason in {
        "format": "bundle format 2 where",
        "short": f"{home / 'short' / DNA_FILE}: 5 bytes where",
        "headless": f"{HEAD_FILE}: cannot be read (No such file",
        "lost": "not a bundle (bundle.json: No such file",
        r"red\x1b[31m": "bundle.json: cannot be read (Input data was truncated)",
    }.items():
        assert found[name].startswith("damaged ")
        assert reason in found[name]
    assert "pictures" not in found
    assert found["virnucpro-500"].startswith("bundle not here: virnucpro models fetch")


def test_what_is_refused_late_is_not_left(
    files: Files, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "virnucpro.bundles.assemble.read_manifest",
        lambda path: (_ for _ in ()).throw(BundleError(f"{path / PROTEIN_FILE}: damaged")),
    )
    with pytest.raises(BundleError, match="damaged"):
        add_encoder("mine", files.esm2)
    assert not list(home.iterdir())
