"""Inputs of the benchmark: networks of published sizes with random weights, and random reads."""

from dataclasses import replace

import msgspec
import numpy as np
import torch

from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.manifest import HeadSize
from virnucpro.classify import FrameClassifier
from virnucpro.classify.classifier import config_of
from virnucpro.encoders import (
    DnabertSConfig,
    Esm2Config,
    Tokens,
    pack_by_length,
    protein_tokens,
)
from virnucpro.errors import SettingsError
from virnucpro.runs.devices import Device
from virnucpro.sequences.blocks import Block, Piece

#: Name of the sizes of the published encoders, ESM-2 3B and DNABERT-S.
PUBLISHED_SIZES = "3b"
#: Name of the embedded bundle with the same two architectures.
SMALL_SIZES = "compact-pair"
_PROTEIN = Esm2Config(layers=36, width=2560, heads=40, vocabulary=33)
_DNA = DnabertSConfig(layers=12, width=768, heads=12, feed_forward=3072, vocabulary=4096)
_HEAD = HeadSize(hidden=512)

#: Name of a sample -> lengths of its shortest and its longest read in bases.
SAMPLES = {"150 bp": (150, 150), "300 bp": (300, 300), "500 bp": (500, 500), "mixed": (60, 500)}

_CODONS = np.array(
    [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT" if a + b + c not in
     ("TAA", "TAG", "TGA")]
)  # fmt: skip


def sizes_of(name: str) -> Bundle:
    """Return a bundle whose networks have the sizes that `name` stands for.

    The bundle of the published sizes uses the tokenizer of the embedded bundle.

    Args:
        name: `PUBLISHED_SIZES`, the name of an embedded bundle, or a bundle's directory.

    Raises:
        BundleError: the bundle does not exist.
        SettingsError: the bundle does not have two encoders.
    """
    if name != PUBLISHED_SIZES:
        return _with_two_encoders(load_bundle(name))
    pair = load_bundle(SMALL_SIZES)
    manifest = msgspec.structs.replace(
        pair.manifest, name="ESM-2 3B and DNABERT-S", version="random",
        protein_encoder=_PROTEIN, dna_encoder=_DNA, head=_HEAD,
    )  # fmt: skip
    return replace(pair, manifest=manifest)


def _with_two_encoders(bundle: Bundle) -> Bundle:
    if bundle.manifest.dna_encoder is None:
        raise SettingsError(
            f"{bundle.manifest.name}: has one network where two encoders are measured; "
            f"give --sizes {SMALL_SIZES}"
        )
    return bundle


def random_classifier(bundle: Bundle, device: Device) -> FrameClassifier:
    """Build the network with random weights that are the same in every call."""
    with torch.device("meta"):
        model = FrameClassifier(config_of(bundle.manifest))
    model = model.to(device.dtype).to_empty(device=device.device)
    model.head.float()
    generator = torch.Generator(device.device).manual_seed(1)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.dim() > 1:
            tensor.normal_(0, 0.02, generator=generator)
        else:
            tensor.fill_(1.0 if name.endswith(("weight", "running_var")) else 0.0)
    return model.eval().requires_grad_(requires_grad=False)


def random_reads(sample: str, count: int) -> list[str]:
    """Return random reads that, like reads from genes, have no stop in the first forward frame."""
    random = np.random.default_rng(0)
    shortest, longest = SAMPLES[sample]
    lengths = random.integers(shortest, longest + 1, count)
    codons = random.choice(_CODONS, size=(count, -(-longest // 3)))
    return ["".join(row)[:n] for row, n in zip(codons.tolist(), lengths.tolist(), strict=True)]


def blocks_of(reads: list[str], size: int) -> list[Block]:
    """Return blocks of `size` reads each; the last may be shorter."""
    pieces = [Piece(i, f"read{i}", len(s), 1, 0, 1, 0, s) for i, s in enumerate(reads)]
    starts = range(0, len(pieces), size)
    return [Block(i, pieces[start : start + size]) for i, start in enumerate(starts)]


def protein_sample(sample: str, tokens: int) -> Tokens:
    """Return about `tokens` tokens of random proteins, as long as translated reads of a sample."""
    random = np.random.default_rng(0)
    shortest, longest = SAMPLES[sample]
    mean = (shortest + longest) // 6 + 2
    residues = random.integers(shortest, longest + 1, max(1, tokens // mean)) // 3
    offsets = np.concatenate([[0], np.cumsum(residues)]).astype(np.int64)
    letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
    return protein_tokens(random.choice(letters, offsets[-1]), offsets)


def whole_packs(tokens: Tokens, token_budget: int) -> Tokens:
    """Return the sequences of all packs except the last, which is seldom full."""
    packs = [which for which, _ in pack_by_length(tokens, token_budget)]
    return tokens.choose(np.concatenate(packs[:-1])) if len(packs) > 1 else tokens
