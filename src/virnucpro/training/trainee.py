"""A classifier that reads six frames, in training: what it guesses, and how wrong it is.

Fragments of a batch have one length, so that all shapes are known beforehand, as a CUDA graph needs
it; what lies behind the end of a shorter one is left out of attention and means. The networks are
those of `encoders.six_frames`, with the arithmetic in the type of what they are given.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    gelu,
    layer_norm,
    linear,
    scaled_dot_product_attention,
)

from virnucpro.classify.model import ClassifierConfig, FrameClassifier
from virnucpro.encoders import Esm2
from virnucpro.encoders.positions import rotary_tables, rotate
from virnucpro.encoders.six_frames import CODONS, WINDOW, SixFrames, words_of
from virnucpro.sequences import OTHER_BASE
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES
from virnucpro.training.windows import Fragments, cut_windows, spans_of

if TYPE_CHECKING:
    from virnucpro.encoders.esm2 import Esm2Block

#: The tensor of a classifier that `Trainee.words` stands in for.
WORD_VECTORS = "protein_encoder.frames.embedding.weight"


@dataclass(frozen=True)
class Losses:
    """How the losses are weighed, and words left out.

    Attributes:
        mask_weight: of the hidden windows beside the classifier's loss.
        teacher_weight: of the teacher's answers beside the labels, from 0 to 1.
        word_dropout: share of codons left out.
    """

    mask_weight: float = 0.1
    teacher_weight: float = 0.7
    word_dropout: float = 0.1


class Trainee(nn.Module):
    """The classifier, and what only training needs.

    Attributes:
        residues: vectors of residues at each place, shape (CODONS * 21, E): codons of one residue
            share them; `words` adds them to the codons' own.
        guess: guesses hidden bases.
    """

    def __init__(self, network: ClassifierConfig, losses: Losses) -> None:
        super().__init__()
        self.classifier = FrameClassifier(network)
        self.weights = losses
        encoder = self.encoder
        self.residues = nn.Parameter(
            torch.empty(CODONS * len(RESIDUES), encoder.config.frame_width)
        )
        self.guess = nn.Linear(encoder.config.width, 4 * WINDOW)
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
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of hidden bases and the classifier's.

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
        hidden_BPD = self._hidden(words, fragments.lengths_B, self.words().to(dtype), is_hidden_BP)
        guessed = _product(hidden_BPD, self.guess).float().unflatten(2, (WINDOW, 4))
        own = own_BPW.flatten().long()
        missed = cross_entropy(
            guessed.flatten(0, 2), own, ignore_index=OTHER_BASE, reduction="none"
        )
        is_asked = (is_hidden_BP[:, :, None] & (own_BPW < OTHER_BASE)).flatten()
        restore = (missed * is_asked).sum() / is_asked.sum().clamp(min=1)
        odds_B = _decide(self.classifier, hidden_BPD, fragments.lengths_B)
        decide = binary_cross_entropy_with_logits(odds_B, fragments.is_virus_B)
        if taught_B is not None:
            weight = self.weights.teacher_weight
            learned = binary_cross_entropy_with_logits(odds_B, torch.sigmoid(taught_B))
            decide = (1 - weight) * decide + weight * learned
        return restore, decide

    def _hidden(
        self, words: Tensor, lengths_B: Tensor, table: Tensor, is_hidden_BP: Tensor
    ) -> Tensor:
        mask_D = self.encoder.windows.embedding.weight[0]
        hidden = is_hidden_BP[:, :, None] * mask_D
        return hidden_states(self.encoder, words, lengths_B, table, hidden)


def log_odds(classifier: FrameClassifier, fragments: Fragments, dtype: torch.dtype) -> Tensor:
    """Return the log odds of virus of each fragment, shape (B,)."""
    encoder = cast("SixFrames", classifier.protein_encoder)
    words = words_of(spans_of(cut_windows(fragments.bases_BL)).long())
    table = encoder.frames.embedding.weight.to(dtype)
    hidden_BPD = hidden_states(encoder, words, fragments.lengths_B, table)
    return _decide(classifier, hidden_BPD, fragments.lengths_B)


def hidden_states(
    encoder: SixFrames,
    words: Tensor,
    lengths_B: Tensor,
    table: Tensor,
    beside: Tensor | None = None,
) -> Tensor:
    """Return hidden_BPD of the windows.

    Args:
        encoder: the network.
        words: of each window in each frame, shape (B, P, 6, CODONS).
        lengths_B: bases of each fragment.
        table: vectors of words, in the type to compute in.
        beside: added to the windows' vectors before they are read.
    """
    count, most = words.shape[:2]
    vectors = _sums(words, table).permute(0, 2, 1, 3)  # (B, 6, P, E)
    windows_B = -(-lengths_B // WINDOW)
    place = torch.arange(most, device=words.device)
    backwards = windows_B[:, None] - 1 - place
    turned = torch.where(backwards >= 0, backwards, place)[:, None, :, None]
    turned = turned.expand(count, 3, most, vectors.shape[3])
    reverse = vectors[:, 3:].gather(2, turned)
    there = place < windows_B[:, None]
    frames = torch.cat([vectors[:, :3], reverse], dim=1).flatten(0, 1)
    read = _transform(encoder.frames, frames, there.repeat_interleave(6, dim=0))
    read = read.unflatten(0, (count, 6))
    both = torch.cat([read[:, :3], read[:, 3:].gather(2, turned)], dim=1)
    mixed = _product(both.permute(0, 2, 1, 3).flatten(2), encoder.mix)
    if beside is not None:
        mixed = mixed + beside.to(mixed.dtype)
    return _transform(encoder.windows, mixed, there)


def _sums(words: Tensor, table: Tensor) -> Tensor:
    """Return the sum of the vectors of words: a product, whose gradient is one too."""
    # Words come by place on the forward strand, from the last place on the reverse one.
    ordered = torch.cat([words[..., :3, :], words[..., 3:, :].flip(-1)], dim=-2)
    firsts = 1 + 64 * torch.arange(CODONS, device=words.device)
    hot = (ordered - firsts)[..., None] == torch.arange(64, device=words.device)
    return linear(hot.flatten(-2).to(table.dtype), table[1:].T)


def _transform(network: Esm2, x_NLD: Tensor, is_there_NL: Tensor) -> Tensor:
    """Return hidden states of sequences side by side, as `Esm2` computes them of packs."""
    heads = network.config.heads
    length, width = x_NLD.shape[1:]
    places = torch.arange(length, device=x_NLD.device)
    cos, sin = (t[:, :, 0] for t in rotary_tables(places, width // heads, x_NLD.dtype))
    mask = is_there_NL[:, None, None]
    for module in network.blocks:
        block = cast("Esm2Block", module)
        qkv = _product(_norm(x_NLD, block.attention_norm), block.qkv)
        q, k, v = qkv.unflatten(2, (3, heads, -1)).unbind(2)
        q, k = (rotate(part, cos, sin).transpose(1, 2) for part in (q, k))
        mixed = scaled_dot_product_attention(q, k, v.transpose(1, 2), attn_mask=mask)
        x_NLD = x_NLD + _product(mixed.transpose(1, 2).flatten(2), block.out)
        inner = gelu(_product(_norm(x_NLD, block.feed_norm), block.up))
        x_NLD = x_NLD + _product(inner, block.down)
    return _norm(x_NLD, network.norm)


def _product(x: Tensor, module: nn.Linear) -> Tensor:
    return linear(x, module.weight.to(x.dtype), module.bias.to(x.dtype))


def _norm(x: Tensor, module: nn.LayerNorm) -> Tensor:
    weight, bias = module.weight.to(x.dtype), module.bias.to(x.dtype)
    return layer_norm(x, x.shape[-1:], weight, bias, module.eps)


def _decide(classifier: FrameClassifier, hidden_BPD: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the log odds from the hidden states of windows."""
    windows_B = -(-lengths_B // WINDOW)
    there = torch.arange(hidden_BPD.shape[1], device=lengths_B.device) < windows_B[:, None]
    sums_BD = (hidden_BPD.float() * there[:, :, None]).sum(1)
    means_BD = sums_BD / windows_B[:, None]
    logits_B2 = classifier.head(means_BD[:, :0], means_BD)
    return cast("Tensor", logits_B2[:, 1] - logits_B2[:, 0])
