"""What goes into the products of an ESM-2 on average, for the correction of 8-bit weights.

Most of what rounding weights to 8 bit does to a mean over residues is the same for all residues:
the rounding error times the part of the input that hardly changes. So the error at the mean input
is taken off the bias, once, at load. The proteins are 64 open frames of 150 to 500 bp of viral,
bacterial and eukaryotic genes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from virnucpro.encoders.esm2 import Esm2
from virnucpro.encoders.packing import Pack, pack_sequences
from virnucpro.encoders.steps import Rows
from virnucpro.encoders.steps.plain import PlainSteps
from virnucpro.encoders.tokens import protein_tokens

_PROTEINS = Path(__file__).parent / "calibration.txt"


class _MeanInputs(PlainSteps):
    """Plain steps that note the mean of what goes into each product."""

    def __init__(self) -> None:
        self.means_K: dict[nn.Module, Tensor] = {}

    def product(self, rows: Rows, linear: nn.Module) -> Tensor:
        """Note, then multiply."""
        self._note(rows, linear)
        return super().product(rows, linear)

    def product_gelu(self, rows: Rows, linear: nn.Module) -> Rows:
        """Note, then multiply."""
        self._note(rows, linear)
        return super().product_gelu(rows, linear)

    def add_norm(
        self, x_TD: Tensor, rows: Rows, linear: nn.Module, norm: nn.LayerNorm, *, last: bool = False
    ) -> tuple[Tensor, Rows]:
        """Note, then multiply."""
        self._note(rows, linear)
        return super().add_norm(x_TD, rows, linear, norm, last=last)

    def _note(self, rows: Rows, linear: nn.Module) -> None:
        self.means_K[linear] = rows.values.mean(dim=0, dtype=torch.float32)


@torch.inference_mode()
def mean_inputs(network: Esm2) -> Mapping[nn.Module, Tensor]:
    """Return the mean input of each product of a network, fp32."""
    steps = _MeanInputs()
    before, network.steps = network.steps, steps
    try:
        network(_calibration_pack().to(network.embedding.weight.device))
    finally:
        network.steps = before
    return steps.means_K


def _calibration_pack() -> Pack:
    proteins = _PROTEINS.read_text(encoding="ascii").split()
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in proteins])]).astype(np.int64)
    residues = np.frombuffer("".join(proteins).encode("ascii"), np.uint8)
    return pack_sequences(protein_tokens(residues, offsets), np.arange(len(proteins)))
