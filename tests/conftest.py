"""What many tests need: the tokenizer, a small random bundle, packs of mixed lengths."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from virnucpro.bundles import Bundle
from virnucpro.classify.model import ClassifierConfig, FrameClassifier
from virnucpro.encoders import DnabertSConfig, Esm2Config, Tokens
from virnucpro.training.export import export_bundle

DATA = Path(__file__).parent / "data"


def tokens_of(lengths: list[int], low: int, high: int, seed: int = 0) -> Tokens:
    """Return random token ids in [low, high) of sequences of the given lengths."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Tokens(random.integers(low, high, offsets[-1]), offsets)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return ||found - expected|| / ||expected||."""
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="session")
def tokenizer_json() -> bytes:
    return (DATA / "dnabert_s.tokenizer.json").read_bytes()


@pytest.fixture(scope="session")
def make_bundle(tokenizer_json: bytes) -> Callable[[Path], Bundle]:
    """Return a function that writes a very small random bundle."""

    def make(directory: Path) -> Bundle:
        torch.manual_seed(7)
        network = ClassifierConfig(
            Esm2Config(layers=2, width=32, heads=2),
            DnabertSConfig(layers=1, width=24, heads=3, feed_forward=32),
            head_hidden=16,
        )
        classifier = FrameClassifier(network).eval()
        for parameter in classifier.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return export_bundle(
            classifier,
            tokenizer_json,
            directory,
            name="tiny",
            version="1",
            chunk_lengths=(300, 500),
            provenance={"weights": "random"},
            metrics={},
        )

    return make


@pytest.fixture(scope="session")
def tiny_bundle(
    make_bundle: Callable[[Path], Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
