"""The module that is trained: a classifier that reads six frames, with further outputs and losses.

The fragments of a batch have the same length, because a CUDA graph needs fixed shapes. Positions
beyond the end of a shorter record are excluded from attention and means.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    dropout,
    linear,
)

from virnucpro.classify.classifier import ClassifierConfig, FrameClassifier
from virnucpro.encoders.six_frames import CODONS, WINDOW, SixFrames, words_of
from virnucpro.sequences import OTHER_BASE
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES
from virnucpro.training.forward import hidden_states, windows_with_bases
from virnucpro.training.windows import Fragments, cut_windows, spans_of

#: Tensor of a classifier that `Trainee.words` replaces.
WORD_VECTORS = "protein_encoder.frames.embedding.weight"


@dataclass(frozen=True)
class Losses:
    """Weights of the losses, and rates of dropout.

    Attributes:
        mask_weight: weight of the loss of hidden windows, relative to that of the labels.
        class_weight: weight of the loss of classes, relative to that of the labels.
        teacher_weight: share of the teacher's answers in the loss of the labels, from 0 to 1.
        word_dropout: share of codons that is dropped.
        dropout: rate of dropout of the outputs of blocks, and of the means.
    """

    mask_weight: float = 0.1
    class_weight: float = 0.3
    teacher_weight: float = 0.7
    word_dropout: float = 0.1
    dropout: float = 0.1

    def total(self, bases: Tensor, label: Tensor, kind: Tensor) -> Tensor:
        """Return the weighted sum of the losses of a step; see `StepLosses`."""
        return label + self.mask_weight * bases + self.class_weight * kind


class StepLosses(NamedTuple):
    """Losses of a step.

    Attributes:
        bases: loss of the hidden bases.
        label: loss of the classifier.
        kind: loss of the classes.
    """

    bases: Tensor
    label: Tensor
    kind: Tensor


class Trainee(nn.Module):
    """A classifier with the layers that only training needs.

    Args:
        network: sizes of the classifier.
        losses: weights of the losses.
        classes: number of classes.

    Attributes:
        residues: vectors of the residues at each place, shape (CODONS * 21, E). The codons of a
            residue share its vector; `words` adds it to the vectors of the codons.
        guess: predicts hidden bases.
        kind: predicts the class.
    """

    def __init__(self, network: ClassifierConfig, losses: Losses, classes: int) -> None:
        super().__init__()
        self.classifier = FrameClassifier(network)
        self.weights = losses
        encoder = self.encoder
        self.residues = nn.Parameter(
            torch.empty(CODONS * len(RESIDUES), encoder.config.frame_width)
        )
        self.guess = nn.Linear(encoder.config.width, 4 * WINDOW)
        self.kind = nn.Linear(encoder.config.width, classes)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        nn.init.normal_(self.residues, std=0.1)
        nn.init.normal_(encoder.frames.embedding.weight, std=0.1)
        nn.init.normal_(encoder.mix.weight, std=encoder.mix.in_features**-0.5)
        places = torch.arange(CODONS)[:, None] * len(RESIDUES)
        residue_of = torch.from_numpy(RESIDUE_OF_CODON).long()
        self.register_buffer("residue_of_word", (places + residue_of).flatten(), persistent=False)

    @property
    def encoder(self) -> SixFrames:
        """The encoder of the classifier."""
        return cast("SixFrames", self.classifier.protein_encoder)

    @torch.no_grad()
    def start_from(self, classifier: FrameClassifier) -> None:
        """Copy the weights of a classifier."""
        self.classifier.load_state_dict(classifier.state_dict())
        self.residues.zero_()

    def words(self) -> Tensor:
        """Return the vectors of all words, residues included; that of the empty word is zero."""
        own = self.encoder.frames.embedding.weight[1:]
        folded = own + self.residues[cast("Tensor", self.residue_of_word)]
        return torch.cat([torch.zeros_like(folded[:1]), folded])

    def losses(
        self,
        fragments: Fragments,
        hidden_share_B: Tensor,
        dtype: torch.dtype,
        *,
        teacher_B: Tensor | None = None,
    ) -> StepLosses:
        """Return the losses of fragments.

        Args:
            fragments: fragments with labels and classes.
            hidden_share_B: share of the windows of each fragment that is hidden.
            dtype: type of the arithmetic in the encoder.
            teacher_B: log odds of the teacher; None without a teacher.
        """
        own_BPW = cut_windows(fragments.bases_BL)
        is_hidden_BP = (
            torch.rand(own_BPW.shape[:2], device=own_BPW.device) < hidden_share_B[:, None]
        )
        shown_BPW = torch.where(is_hidden_BP[:, :, None], OTHER_BASE, own_BPW)
        words = words_of(spans_of(shown_BPW).long())
        is_dropped = torch.rand(words.shape, device=words.device) < self.weights.word_dropout
        words = torch.where(is_dropped, 0, words)
        rate = self.weights.dropout if self.training else 0.0
        hidden_BPD = hidden_states(
            self.encoder, words, fragments.lengths_B, self.words().to(dtype),
            added_BPD=is_hidden_BP[:, :, None] * self.encoder.windows.embedding.weight[0],
            dropout=rate,
        )  # fmt: skip
        bases = self._bases_loss(hidden_BPD, own_BPW, is_hidden_BP)
        means_BD = dropout(_means(hidden_BPD, fragments.lengths_B), rate)
        odds_B = _odds(self.classifier, means_BD)
        label = binary_cross_entropy_with_logits(odds_B, fragments.is_virus_B)
        if teacher_B is not None:
            weight = self.weights.teacher_weight
            answer = binary_cross_entropy_with_logits(odds_B, torch.sigmoid(teacher_B))
            label = (1 - weight) * label + weight * answer
        return StepLosses(bases, label, cross_entropy(self.kind(means_BD), fragments.class_B))

    def _bases_loss(self, hidden_BPD: Tensor, own_BPW: Tensor, is_hidden_BP: Tensor) -> Tensor:
        """Return the loss of the bases of hidden windows."""
        guess = self.guess
        guessed = linear(hidden_BPD, guess.weight.to(hidden_BPD.dtype)).float() + guess.bias
        own = own_BPW.flatten().long()
        losses = cross_entropy(guessed.view(-1, 4), own, ignore_index=OTHER_BASE, reduction="none")
        counts = (is_hidden_BP[:, :, None] & (own_BPW < OTHER_BASE)).flatten()
        return (losses * counts).sum() / counts.sum().clamp(min=1)


def log_odds(classifier: FrameClassifier, fragments: Fragments, dtype: torch.dtype) -> Tensor:
    """Return the log odds of virus of each fragment, shape (B,)."""
    encoder = cast("SixFrames", classifier.protein_encoder)
    words = words_of(spans_of(cut_windows(fragments.bases_BL)).long())
    table = encoder.frames.embedding.weight.to(dtype)
    hidden_BPD = hidden_states(encoder, words, fragments.lengths_B, table)
    return _odds(classifier, _means(hidden_BPD, fragments.lengths_B))


def _means(hidden_BPD: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the mean over the windows that contain bases, in fp32."""
    has_bases_BP = windows_with_bases(lengths_B, hidden_BPD.shape[1])
    sums_BD = (hidden_BPD.float() * has_bases_BP[:, :, None]).sum(1)
    return sums_BD / has_bases_BP.sum(1, keepdim=True)


def _odds(classifier: FrameClassifier, means_BD: Tensor) -> Tensor:
    logits_B2 = classifier.head(means_BD)
    return cast("Tensor", logits_B2[:, 1] - logits_B2[:, 0])
