"""How the hidden states of a sequence become its embedding."""

from typing import Literal

import torch
from torch import Tensor

from virnucpro.encoders.network import Transformer
from virnucpro.encoders.packing import Pack

#: `mean`: mean over the residues (protein) or over all tokens (DNA), as VirNucPro uses it. `cls`:
#: the first token. `tokens`: every residue or byte pair, without the first and the last token.
Pooling = Literal["mean", "cls", "tokens"]
#: Tokens of a sequence that stand for none of its letters: the first and the last.
SPECIAL_TOKENS = 2


def pool(network: Transformer, pack: Pack, pooling: Pooling) -> Tensor:
    """Return the embeddings of the sequences of a pack, end to end, fp32.

    Returns:
        rows of D numbers: one for each sequence, or one for each token if `pooling` is `tokens`.
    """
    if pooling == "mean":
        return network.embed(pack)
    starts_S = pack.cu_seqlens[:-1].long()
    hidden_TD: Tensor = network(pack)
    if pooling == "cls":
        return hidden_TD[starts_S].float()
    inner_S = pack.cu_seqlens.diff().long() - SPECIAL_TOKENS
    total = pack.used - SPECIAL_TOKENS * pack.sequences
    before_S = 1 + SPECIAL_TOKENS * torch.arange(pack.sequences, device=starts_S.device)
    shift_R = torch.repeat_interleave(before_S, inner_S, output_size=total)
    return hidden_TD[shift_R + torch.arange(total, device=starts_S.device)].float()
