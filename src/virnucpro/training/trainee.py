"""A classifier in training: what it guesses, and how wrong it is."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from virnucpro.classify.model import ClassifierConfig, FrameClassifier
from virnucpro.encoders import Pack
from virnucpro.encoders.packing import mean_pool
from virnucpro.encoders.tokens import ESM2_MASK
from virnucpro.training.fragments import FrameBatch, mask_tokens

#: Token ids that may be hidden and guessed: residues (ESM-2 4..23), bases and byte pairs (5..).
_PROTEIN_TOKENS = (4, 24)
_DNA_TOKENS = (5, 4096)
_DNA_MASK = 4


@dataclass(frozen=True)
class Teacher:
    """A larger classifier of the same frames, whose answers are learned too.

    Attributes:
        classifier: on the device, for inference.
        weight: of its answers beside the labels, from 0 to 1.
    """

    classifier: FrameClassifier
    weight: float

    @torch.no_grad()
    def probabilities(self, batch: FrameBatch) -> Tensor:
        """Return P(other) and P(virus) of each frame, shape (S, 2)."""
        return torch.softmax(_logits(self.classifier, batch).float(), dim=1)


class Trainee(nn.Module):
    """The classifier and what only training needs: the outputs that guess hidden tokens."""

    def __init__(self, network: ClassifierConfig) -> None:
        super().__init__()
        self.classifier = FrameClassifier(network)
        self.protein_bias = nn.Parameter(torch.zeros(network.protein.vocabulary))
        self.dna_bias = nn.Parameter(torch.zeros(network.dna.vocabulary))
        for parameter in self.classifier.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def losses(
        self,
        batch: FrameBatch,
        mask_rate: float,
        *,
        classify: bool,
        teacher: Teacher | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden-token loss and the classifier's loss (0 when not asked for)."""
        model = self.classifier
        share = torch.ones(len(batch.is_virus), device=model.device) * mask_rate
        if classify:
            share = share * (torch.rand_like(share) < 0.5)
        protein_TD, protein_loss = _restore(
            model.protein_encoder, batch.protein, batch.protein_place, share,
            _PROTEIN_TOKENS, ESM2_MASK, self.protein_bias,
        )  # fmt: skip
        dna_TD, dna_loss = _restore(
            model.dna_encoder, batch.dna, batch.dna_place, share,
            _DNA_TOKENS, _DNA_MASK, self.dna_bias,
        )  # fmt: skip
        if not classify:
            return protein_loss + dna_loss, torch.zeros((), device=model.device)
        logits_S2 = _decide(model, batch, protein_TD, dna_TD).float()
        decided = cross_entropy(logits_S2, batch.is_virus)
        if teacher is not None:
            taught = cross_entropy(logits_S2, teacher.probabilities(batch))
            decided = (1 - teacher.weight) * decided + teacher.weight * taught
        return protein_loss + dna_loss, decided


def _logits(model: FrameClassifier, batch: FrameBatch) -> Tensor:
    protein_TD, dna_TD = model.protein_encoder(batch.protein), model.dna_encoder(batch.dna)
    return _decide(model, batch, protein_TD, dna_TD)


def _decide(
    model: FrameClassifier, batch: FrameBatch, protein_TD: Tensor, dna_TD: Tensor
) -> Tensor:
    """Return logits_S2 from the hidden states of both encoders."""
    protein_SD = mean_pool(protein_TD, batch.protein, trim=1)[batch.protein_place]
    dna_SD = mean_pool(dna_TD, batch.dna)[batch.dna_place]
    logits_S2: Tensor = model.head(dna_SD, protein_SD)
    return logits_S2


def _restore(
    encoder: nn.Module,
    pack: Pack,
    place: Tensor,
    share_S: Tensor,
    token_range: tuple[int, int],
    mask_id: int,
    bias_V: Tensor,
) -> tuple[Tensor, Tensor]:
    """Hide tokens of a pack and return its hidden states and the loss of guessing them."""
    share_in_pack_S = torch.empty_like(share_S).scatter_(0, place, share_S)
    rate_T = share_in_pack_S.repeat_interleave(
        pack.cu_seqlens.diff(), output_size=len(pack.tokens_T)
    )
    masked_T, chosen_T = mask_tokens(pack.tokens_T, *token_range, mask_id, rate_T)
    hidden_TD = encoder(pack._replace(tokens_T=masked_T))
    embedding_VD = encoder.get_parameter("embedding.weight")
    logits = nn.functional.linear(hidden_TD[chosen_T], embedding_VD, bias_V)
    return hidden_TD, cross_entropy(logits.float(), pack.tokens_T[chosen_T])
