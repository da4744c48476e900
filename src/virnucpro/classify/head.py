"""The classifier on top of the embeddings.

The layers and their names are those of `MLPClassifier` of the original VirNucPro.
"""

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Linear, BatchNorm, ReLU, Dropout, Linear.

    Args:
        width: number of features, F (published heads: 768 of DNABERT-S, then 2,560 of ESM-2 3B).
        hidden: width of the hidden layer (published heads: 512).
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(width, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(0.5)
        self.output_layer = nn.Linear(hidden, 2)

    def forward(self, features_SF: Tensor) -> Tensor:
        """Return the logits of other and virus, shape (S, 2), from features [DNA, protein]."""
        hidden = torch.relu(self.bn1(self.hidden_layer(features_SF)))
        logits: Tensor = self.output_layer(self.dropout(hidden))
        return logits
