"""Tokens of proteins, for many proteins at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from virnucpro.encoders.packing import Tokens

#: ESM-2's vocabulary in order (fair-esm, alphabet "ESM-1b").
ESM2_VOCABULARY = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    *("<null_1>", "<mask>"),
)
ESM2_CLS, ESM2_PAD, ESM2_EOS, ESM2_UNK = range(4)


def _residue_ids() -> NDArray[np.int64]:
    ids = np.full(256, ESM2_UNK, dtype=np.int64)
    for token_id, token in enumerate(ESM2_VOCABULARY):
        if len(token) == 1:
            ids[ord(token)] = token_id
    return ids


_RESIDUE_IDS = _residue_ids()


def protein_tokens(residues: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Tokens:
    """Return the ESM-2 tokens of proteins, with `<cls>` before and `<eos>` behind each.

    Args:
        residues: amino-acid letters of all proteins, end to end, in ASCII.
        offsets: start of each protein, and the end of the last one.
    """
    lengths = np.diff(offsets)
    new_offsets = offsets + 2 * np.arange(len(offsets))
    ids = np.empty(new_offsets[-1], dtype=np.int64)
    within = np.repeat(new_offsets[:-1] + 1 - offsets[:-1], lengths)
    ids[within + np.arange(len(residues))] = _RESIDUE_IDS[residues]
    ids[new_offsets[:-1]] = ESM2_CLS
    ids[new_offsets[1:] - 1] = ESM2_EOS
    return Tokens(ids, new_offsets)


def end_to_end(sequences: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the ASCII letters of sequences, end to end, and their offsets."""
    letters = np.frombuffer("".join(sequences).encode("ascii"), dtype=np.uint8)
    return letters, np.cumsum([0, *map(len, sequences)], dtype=np.int64)
