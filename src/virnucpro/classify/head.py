"""The classifier on top of the two embeddings.

Source: `MLPClassifier` of the original VirNucPro; layer names are the published ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of a head.

    Attributes:
        dna_width: width of the DNA embedding (DNABERT-S: 768).
        protein_width: width of the protein embedding (ESM-2 3B: 2,560).
        hidden: width of the hidden layer (published heads: 512).
    """

    dna_width: int
    protein_width: int
    hidden: int


class Head(nn.Module):
    """Linear, BatchNorm, ReLU, Dropout, Linear over [DNA, protein]."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(config.dna_width + config.protein_width, config.hidden)
        self.bn1 = nn.BatchNorm1d(config.hidden)
        self.dropout = nn.Dropout(0.5)
        self.output_layer = nn.Linear(config.hidden, 2)

    def forward(self, dna_SD: Tensor, protein_SD: Tensor) -> Tensor:
        """Return logits, shape (S, 2): other, virus."""
        hidden = torch.relu(self.bn1(self.hidden_layer(torch.cat([dna_SD, protein_SD], dim=1))))
        logits: Tensor = self.output_layer(self.dropout(hidden))
        return logits
