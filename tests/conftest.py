"""What many tests need: the tokenizer, small random bundles, packs of mixed lengths."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from virnucpro.bundles import Bundle
from virnucpro.classify.classifier import ClassifierConfig, FrameClassifier
from virnucpro.encoders import DnabertSConfig, Esm2Config, Tokens
from virnucpro.encoders.precision import int8_fault
from virnucpro.sequences.blocks import Block, Piece
from virnucpro.training.export import export_bundle

if not torch.cuda.is_available():  # Triton, which nothing has imported yet, then interprets
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Some tests interrupt; a shell that starts pytest in the background has that ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: What `auto` computes networks that read six frames in on this CPU.
SIX_FRAMES_PRECISION = "fp32" if int8_fault() else "int8"
DATA = Path(__file__).parent / "data"
TINY = ClassifierConfig(
    Esm2Config(layers=2, width=32, heads=2, vocabulary=33),
    DnabertSConfig(layers=1, width=24, heads=3, feed_forward=32, vocabulary=4096),
    head_hidden=16,
)
#: The smallest whose heads and rows the fused kernels take.
FUSABLE_PROTEIN = Esm2Config(layers=2, width=64, heads=2, vocabulary=33)
FUSABLE_DNA = DnabertSConfig(layers=1, width=64, heads=2, feed_forward=96, vocabulary=4096)
FUSABLE = ClassifierConfig(FUSABLE_PROTEIN, FUSABLE_DNA, head_hidden=16)


def tokens_of(lengths: list[int], low: int, high: int, seed: int = 0) -> Tokens:
    """Return random token ids in [low, high) of sequences of the given lengths."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Tokens(random.integers(low, high, offsets[-1]), offsets)


def block_of(records: int, longest: int, chunk_length: int, seed: int = 3) -> Block:
    """Return a block of whole random records of 30 bases or more."""
    random = np.random.default_rng(seed)
    lengths = random.integers(30, longest, records)
    letters = ["".join(random.choice(list("ACGT"), size=n)) for n in lengths]
    chunks = [-(-len(s) // chunk_length) for s in letters]
    parts = enumerate(zip(letters, chunks, strict=True))
    return Block(0, [Piece(i, f"r{i}", len(s), n, 0, n, 0, s) for i, (s, n) in parts])


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return ||found - expected|| / ||expected||."""
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return where Triton's kernels run: a GPU, else the CPU through Triton's interpreter."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ["TRITON_INTERPRET"] == "1":
        from interpreter import mend  # noqa: PLC0415 (imports Triton)

        mend()
    return torch.device("cpu")


@pytest.fixture(scope="session")
def tokenizer_json() -> bytes:
    return (DATA / "dnabert_s.tokenizer.json").read_bytes()


@pytest.fixture(scope="session")
def make_bundle(tokenizer_json: bytes) -> Callable[[Path, ClassifierConfig], Bundle]:
    """Return a function that writes a small random bundle."""

    def make(directory: Path, network: ClassifierConfig) -> Bundle:
        torch.manual_seed(7)
        classifier = FrameClassifier(network).eval()
        for parameter in classifier.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return export_bundle(
            classifier,
            tokenizer_json,
            directory,
            name=directory.name,
            version="1",
            chunk_lengths=(300, 500),
            provenance={"weights": "random"},
            metrics={},
        )

    return make


@pytest.fixture(scope="session")
def tiny_bundle(
    make_bundle: Callable[[Path, ClassifierConfig], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny", TINY)


@pytest.fixture(scope="session")
def fusable_bundle(
    make_bundle: Callable[[Path, ClassifierConfig], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "fusable", FUSABLE)
