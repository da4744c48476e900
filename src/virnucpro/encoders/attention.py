"""The one attention both encoders call, with a path for each device.

On CUDA in 16 bit without a bias, PyTorch's variable-length FlashAttention takes a pack as it is.
Everywhere else the runs of equal length of a pack go through scaled-dot-product attention, so
that nothing is padded; packs sorted by length have few runs.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from virnucpro.encoders.packing import Pack


def attention(
    q_THA: Tensor, k_THA: Tensor, v_THA: Tensor, pack: Pack, biases: list[Tensor] | None = None
) -> Tensor:
    """Let every token attend to the tokens of its own sequence.

    Args:
        q_THA: queries, not scaled.
        k_THA: keys.
        v_THA: values.
        pack: which tokens belong together.
        biases: for each run of the pack, what is added to its scores, shape (H, L, L).

    Returns:
        out_THA.
    """
    if biases is None and q_THA.is_cuda and q_THA.dtype in (torch.float16, torch.bfloat16):
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 (CUDA only)

        ends, longest = pack.cu_seqlens, pack.longest
        out_THA = varlen_attn(q_THA, k_THA, v_THA, ends, ends, longest, longest)
        return cast("Tensor", out_THA)
    return _attention_by_runs(q_THA, k_THA, v_THA, pack, biases)


def _attention_by_runs(
    q_THA: Tensor, k_THA: Tensor, v_THA: Tensor, pack: Pack, biases: list[Tensor] | None
) -> Tensor:
    outputs = []
    tokens = [run.tokens for run in pack.runs]
    parts = zip(q_THA.split(tokens), k_THA.split(tokens), v_THA.split(tokens), strict=True)
    for i, (run, part) in enumerate(zip(pack.runs, parts, strict=True)):
        q, k, v = (x.unflatten(0, (run.sequences, run.length)).transpose(1, 2) for x in part)
        out = scaled_dot_product_attention(q, k, v, attn_mask=biases[i][None] if biases else None)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
