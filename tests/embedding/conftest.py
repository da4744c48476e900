"""Small random encoders, and sequences for them."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import virnucpro
from processes import contents
from virnucpro.bundles import Bundle
from virnucpro.classify.classifier import ClassifierConfig
from virnucpro.encoders import DnabertSConfig, Esm2Config

SMALL = ClassifierConfig(
    Esm2Config(layers=2, width=16, heads=2, vocabulary=33),
    DnabertSConfig(layers=2, width=24, heads=3, feed_forward=32, vocabulary=4096),
    head_hidden=16,
)


@pytest.fixture(scope="session")
def small_bundle(
    make_bundle: Callable[[Path, ClassifierConfig], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("embedding") / "small", SMALL)


@pytest.fixture(scope="session")
def protein(small_bundle: Bundle) -> str:
    """Return the value of `--model` for the small ESM-2."""
    return f"{small_bundle.path}:protein"


@pytest.fixture(scope="session")
def dna(small_bundle: Bundle) -> str:
    """Return the value of `--model` for the small DNABERT-S."""
    return f"{small_bundle.path}:dna"


@pytest.fixture(scope="session")
def proteins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 1,200 proteins, some 150,000 residues."""
    moments = random.Random(11)
    path = tmp_path_factory.mktemp("proteins") / "proteins.fa"
    with path.open("w") as file:
        for i in range(1200):
            letters = moments.choices("ACDEFGHIKLMNPQRSTVWYX", k=moments.randint(1, 250))
            file.write(f">p{i} words\n{''.join(letters)}\n")
    return path


@pytest.fixture(scope="session")
def unbroken(
    proteins: Path, protein: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, bytes]]:
    """Return a finished run with a vector for each residue, and its files."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    virnucpro.embed(proteins, out, model=protein, pooling="tokens", device="cpu")
    return out, contents(out)


@pytest.fixture(scope="session")
def finished(proteins: Path, protein: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run with a vector for each record."""
    out = tmp_path_factory.mktemp("finished") / "out"
    virnucpro.embed(proteins, out, model=protein, device="cpu")
    return out
