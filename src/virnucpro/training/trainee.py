"""A classifier that reads six frames, in training: what it guesses, and how wrong it is.

Fragments of a batch have one length, so that all shapes are known beforehand, as a CUDA graph needs
it; what lies behind the end of a shorter one is left out of attention and means.
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
from virnucpro.training.forward import hidden_states, windows_there
from virnucpro.training.windows import Fragments, cut_windows, spans_of

#: The tensor of a classifier that `Trainee.words` stands in for.
WORD_VECTORS = "protein_encoder.frames.embedding.weight"


@dataclass(frozen=True)
class Losses:
    """How the losses are weighed, and what is left out.

    Attributes:
        mask_weight: of the hidden windows beside the classifier's loss.
        class_weight: of the classes beside their labels; 0 for labels alone.
        teacher_weight: of the teacher's answers beside the labels, from 0 to 1.
        word_dropout: share of codons left out.
        dropout: share left out of what blocks add, and of the means.
    """

    mask_weight: float = 0.1
    class_weight: float = 0.3
    teacher_weight: float = 0.7
    word_dropout: float = 0.1
    dropout: float = 0.1

    def together(self, restore: Tensor, decide: Tensor, sort: Tensor) -> Tensor:
        """Return one loss of three; see `Found`."""
        return decide + self.mask_weight * restore + self.class_weight * sort


class Found(NamedTuple):
    """Losses of a step.

    Attributes:
        restore: of hidden bases.
        decide: of the classifier.
        sort: of the classes.
    """

    restore: Tensor
    decide: Tensor
    sort: Tensor


class Trainee(nn.Module):
    """The classifier, and what only training needs.

    Attributes:
        residues: vectors of residues at each place, shape (CODONS * 21, E): codons of one residue
            share them; `words` adds them to the codons' own.
        guess: guesses hidden bases.
        kind: guesses the class.

    Args:
        network: sizes of the classifier.
        losses: how they are weighed.
        classes: number of classes.
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
        """The classifier's."""
        return cast("SixFrames", self.classifier.protein_encoder)

    @torch.no_grad()
    def start_from(self, classifier: FrameClassifier) -> None:
        """Take the weights of a classifier."""
        self.classifier.load_state_dict(classifier.state_dict())
        self.residues.zero_()

    def words(self) -> Tensor:
        """Return the vectors of all words with their residues', the empty one's first and zero."""
        own = self.encoder.frames.embedding.weight[1:]
        folded = own + self.residues[cast("Tensor", self.residue_of_word)]
        return torch.cat([torch.zeros_like(folded[:1]), folded])

    def losses(
        self,
        fragments: Fragments,
        hidden_share_B: Tensor,
        dtype: torch.dtype,
        *,
        taught_B: Tensor | None = None,
    ) -> Found:
        """Return what was lost.

        Args:
            fragments: what to learn from.
            hidden_share_B: share of the windows of each fragment that is hidden.
            dtype: of the arithmetic within the encoder.
            taught_B: the teacher's log odds, where there is one.
        """
        own_BPW = cut_windows(fragments.bases_BL)
        is_hidden_BP = (
            torch.rand(own_BPW.shape[:2], device=own_BPW.device) < hidden_share_B[:, None]
        )
        shown_BPW = torch.where(is_hidden_BP[:, :, None], OTHER_BASE, own_BPW)
        words = words_of(spans_of(shown_BPW).long())
        gone = torch.rand(words.shape, device=words.device) < self.weights.word_dropout
        words = torch.where(gone, 0, words)
        left_out = self.weights.dropout if self.training else 0.0
        hidden_BPD = hidden_states(
            self.encoder, words, fragments.lengths_B, self.words().to(dtype),
            beside=is_hidden_BP[:, :, None] * self.encoder.windows.embedding.weight[0],
            dropout=left_out,
        )  # fmt: skip
        restore = self._restore(hidden_BPD, own_BPW, is_hidden_BP)
        means_BD = dropout(_means(hidden_BPD, fragments.lengths_B), left_out)
        odds_B = _odds(self.classifier, means_BD)
        decide = binary_cross_entropy_with_logits(odds_B, fragments.is_virus_B)
        if taught_B is not None:
            weight = self.weights.teacher_weight
            learned = binary_cross_entropy_with_logits(odds_B, torch.sigmoid(taught_B))
            decide = (1 - weight) * decide + weight * learned
        return Found(restore, decide, cross_entropy(self.kind(means_BD), fragments.class_B))

    def _restore(self, hidden_BPD: Tensor, own_BPW: Tensor, is_hidden_BP: Tensor) -> Tensor:
        """Return the loss of the bases of hidden windows."""
        guess = self.guess
        guessed = linear(hidden_BPD, guess.weight.to(hidden_BPD.dtype)).float() + guess.bias
        own = own_BPW.flatten().long()
        missed = cross_entropy(guessed.view(-1, 4), own, ignore_index=OTHER_BASE, reduction="none")
        is_asked = (is_hidden_BP[:, :, None] & (own_BPW < OTHER_BASE)).flatten()
        return (missed * is_asked).sum() / is_asked.sum().clamp(min=1)


def log_odds(classifier: FrameClassifier, fragments: Fragments, dtype: torch.dtype) -> Tensor:
    """Return the log odds of virus of each fragment, shape (B,)."""
    encoder = cast("SixFrames", classifier.protein_encoder)
    words = words_of(spans_of(cut_windows(fragments.bases_BL)).long())
    table = encoder.frames.embedding.weight.to(dtype)
    hidden_BPD = hidden_states(encoder, words, fragments.lengths_B, table)
    return _odds(classifier, _means(hidden_BPD, fragments.lengths_B))


def _means(hidden_BPD: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the mean over the windows that are there, in fp32."""
    is_there_BP = windows_there(lengths_B, hidden_BPD.shape[1])
    sums_BD = (hidden_BPD.float() * is_there_BP[:, :, None]).sum(1)
    return sums_BD / is_there_BP.sum(1, keepdim=True)


def _odds(classifier: FrameClassifier, means_BD: Tensor) -> Tensor:
    logits_B2 = classifier.head(means_BD)
    return cast("Tensor", logits_B2[:, 1] - logits_B2[:, 0])
