"""The average inputs of a network's products, which correct the rounding of 8-bit weights.

Most of what rounding weights to 8 bit does to a mean over residues is the same for all residues: it
is the rounding error times the part of the input that hardly changes. So the error at the mean
input is subtracted from the bias once, when the network is loaded. The inputs come from 64 open
frames of 150 to 500 bp from viral, bacterial and eukaryotic genes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from virnucpro.encoders.network import Network
from virnucpro.encoders.packing import Pack
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.steps.plain import PlainSteps
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES

_PROTEINS = Path(__file__).parent / "proteins.txt"


class Seen(NamedTuple):
    """The inputs of a product, or the results of a LayerNorm before its gain and bias.

    Attributes:
        mean_K: mean over the tokens, fp32.
        peak: largest magnitude, more than 0.
    """

    mean_K: Tensor
    peak: float


class _Noting(PlainSteps):
    """Plain steps that note the input of each product and the result of each LayerNorm."""

    def __init__(self) -> None:
        self.seen: dict[nn.Module, Seen] = {}

    def norm(self, x_TD: Tensor, norm: nn.LayerNorm) -> Rows:
        """Record the activations, then normalise."""
        self._note(norm, layer_norm(x_TD, norm.normalized_shape, eps=norm.eps))
        return super().norm(x_TD, norm)

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Record the activations, then multiply."""
        self._note(linear, rows.values)
        return super().product(rows, linear)

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Record the activations, then multiply."""
        self._note(linear, rows.values)
        return super().product_gelu(rows, linear)

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm
    ) -> tuple[Tensor, Rows]:
        """Record the activations, then multiply."""
        self._note(linear, rows.values)
        x_TD = x_TD + linear(rows.values)
        return x_TD, self.norm(x_TD, norm)

    def _note(self, module: nn.Module, values_TK: Tensor) -> None:
        mean_K = values_TK.mean(dim=0, dtype=torch.float32)
        self.seen[module] = Seen(mean_K, max(float(values_TK.abs().max()), 1e-6))


@torch.inference_mode()
def seen_in(network: Network, pack: Pack) -> Mapping[nn.Module, Seen]:
    """Return what the products and LayerNorms of a network with plain weights see of a pack."""
    steps = _Noting()
    before = [(part, part.steps) for part in network.parts.values()]
    try:
        for part, _ in before:
            part.steps = steps
        network(pack.to(network.device))
    finally:
        for part, its_steps in before:
            part.steps = its_steps
    return steps.seen


def sample_proteins() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the letters of the proteins end to end, and where each starts and the last ends."""
    proteins = _PROTEINS.read_text(encoding="ascii").split()
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in proteins])]).astype(np.int64)
    return np.frombuffer("".join(proteins).encode("ascii"), np.uint8), offsets


def sample_dna() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return DNA that codes for the proteins; a residue's codons take turns."""
    residues, offsets = sample_proteins()
    letters_R3 = np.empty((len(residues), 3), np.uint8)
    for number, letter in enumerate(RESIDUES[:-1].encode("ascii")):
        codons = np.flatnonzero(number == RESIDUE_OF_CODON)
        (places,) = np.nonzero(residues == letter)
        chosen = codons[np.arange(len(places)) % len(codons)]
        bases_R3 = chosen[:, None] // (16, 4, 1) % 4
        letters_R3[places] = np.frombuffer(b"ACGT", np.uint8)[bases_R3]
    return letters_R3.ravel(), 3 * offsets
