"""From proteins and DNA to token ids, in bulk."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, processors

from virnucpro.encoders.packing import Tokens

#: ESM-2's vocabulary in order (fair-esm, alphabet "ESM-1b").
ESM2_VOCABULARY = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    *("<null_1>", "<mask>"),
)
ESM2_CLS, ESM2_PAD, ESM2_EOS, ESM2_UNK = range(4)
ESM2_MASK = ESM2_VOCABULARY.index("<mask>")


def _residue_ids() -> NDArray[np.int64]:
    ids = np.full(256, ESM2_UNK, dtype=np.int64)
    for token_id, token in enumerate(ESM2_VOCABULARY):
        if len(token) == 1:
            ids[ord(token)] = token_id
    return ids


_RESIDUE_IDS = _residue_ids()


def protein_tokens(residues: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Tokens:
    """Return ESM-2's tokens of proteins, `<cls>` before and `<eos>` behind each.

    Args:
        residues: amino-acid letters of all proteins end to end, ASCII.
        offsets: where each protein starts, one more entry than proteins.
    """
    lengths = np.diff(offsets)
    new_offsets = offsets + 2 * np.arange(len(offsets))
    ids = np.empty(new_offsets[-1], dtype=np.int64)
    within = np.repeat(new_offsets[:-1] + 1 - offsets[:-1], lengths)
    ids[within + np.arange(len(residues))] = _RESIDUE_IDS[residues]
    ids[new_offsets[:-1]] = ESM2_CLS
    ids[new_offsets[1:] - 1] = ESM2_EOS
    return Tokens(ids, new_offsets)


class DnaTokenizer:
    """DNABERT-S's byte-pair tokenizer, built from its `tokenizer.json`.

    A nucleotide sequence is one word for the published tokenizer, or words parted by gaps that no
    merge crosses, so its splitting into words is left out; and reads hardly repeat, so its cache
    of words is too. The ids stay the same, at 1.3 times the speed (benchmarks/host.py).

    Args:
        tokenizer_json: the content of the file.

    Raises:
        ValueError: when the content is not a byte-pair tokenizer with [CLS] and [SEP].
    """

    def __init__(self, tokenizer_json: bytes) -> None:
        try:
            model = json.loads(tokenizer_json)["model"]
            pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
            merges = [(str(left), str(right)) for left, right in pairs]
            vocabulary = model["vocab"]
            bpe = models.BPE(vocabulary, merges, unk_token=model["unk_token"], cache_capacity=0)
            ends = [(token, vocabulary[token]) for token in ("[SEP]", "[CLS]")]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a byte-pair tokenizer: {error}") from error
        self._tokenizer = Tokenizer(bpe)
        self._tokenizer.post_processor = processors.BertProcessing(*ends)
        self.vocabulary_size = len(vocabulary)

    def __call__(self, dna: Sequence[str]) -> Tokens:
        """Return the tokens of upper-case DNA, [CLS] before and [SEP] behind each."""
        encodings = self._tokenizer.encode_batch_fast(dna)
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.fromiter((i for row in ids for i in row), dtype=np.int64, count=offsets[-1])
        return Tokens(flat, offsets)
