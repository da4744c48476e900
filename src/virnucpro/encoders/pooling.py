"""What is kept of the hidden states of a sequence."""

from typing import Literal

import torch
from torch import Tensor

from virnucpro.encoders.dnabert_s import DnabertS
from virnucpro.encoders.esm2 import Esm2
from virnucpro.encoders.packing import Pack

#: `mean` over residues (ESM-2) or all tokens (DNABERT-S), as VirNucPro takes it; `cls`, the first
#: token; `tokens`, every residue or byte pair, the first and last token left out.
Pooling = Literal["mean", "cls", "tokens"]
#: Tokens around a sequence that stand for none of its letters.
SPECIAL_TOKENS = 2


def pool(network: Esm2 | DnabertS, pack: Pack, pooling: Pooling) -> Tensor:
    """Return what is kept of each sequence of a pack, end to end, fp32.

    Returns:
        rows of D numbers: one a sequence, or one a token where `pooling` is `tokens`.
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
