"""The byte-pair tokens of DNABERT-S, for all sequences of a block at once.

Byte-pair encoding merges the pair of lowest rank first, and of equal pairs the leftmost. Here the
merges are divided into groups: a new group begins when a merge needs a token that the current group
makes. Within a group, merges can only compete for tokens. So all sequences are merged together, one
group after the other: find the pairs, settle which of the pairs that share a token wins, and merge.
The published vocabulary of 4,096 tokens needs eight groups. The tokens equal those of the library
`tokenizers` (a test compares them), several times faster on one core (benchmarks/host.py).
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.encoders.packing import Tokens
from virnucpro.errors import BundleError, reading

#: Letters for [CLS] and [SEP] in the text of a block; no nucleotide has these letters.
_OPEN, _CLOSE = "<", ">"
#: Largest numbers of tokens in a vocabulary, of cells in its table of pairs, and of groups of
#: merges. The published vocabulary has 4,096 tokens, 300 times 279 cells and eight groups.
_MOST_TOKENS = 1 << 16
_MOST_PAIRS = 1 << 26
_MOST_GROUPS = 256
#: Letters that are merged together: few enough to stay in a cache, and to release the interpreter's
#: lock to other threads from time to time.
_SLICE = 1 << 16


class _Merges(NamedTuple):
    """The merges as tables.

    Attributes:
        left: row of each token as the left one of a pair, times the number of columns.
        right: column of each token as the right one of a pair. Tokens that no merge needs have row
            and column 0.
        rank: rank of each pair, row after row; `len(merged)` for pairs that no merge takes.
        merged: token that the merge of each rank makes.
        groups: one past the last rank of each group.
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    rank: NDArray[np.uint16]
    merged: NDArray[np.uint16]
    groups: list[int]


class DnaTokenizer:
    """The tokenizer of DNABERT-S, built from its `tokenizer.json`.

    Args:
        tokenizer_json: content of the file.
        where: name of the file, for messages.

    Raises:
        BundleError: the content is not a byte-pair tokenizer with [CLS], [SEP] and [UNK], or its
            merges do not make each token once, from earlier tokens only.
    """

    def __init__(self, tokenizer_json: bytes, where: str = "dna_tokenizer.json") -> None:
        with reading(where, "give a byte-pair tokenizer as DNABERT-S has it", BundleError):
            vocabulary, pairs = _parsed(tokenizer_json)
            self._merges = _tabulate(vocabulary, pairs)
            self._letters = np.full(256, vocabulary["[UNK]"], dtype=np.uint16)
            for token, token_id in vocabulary.items():
                if len(token) == 1 and token.isascii():
                    self._letters[ord(token)] = token_id
            self._cls = self._letters[ord(_OPEN)] = vocabulary["[CLS]"]
            self._letters[ord(_CLOSE)] = vocabulary["[SEP]"]
        self.vocabulary_size = max(vocabulary.values()) + 1

    def __call__(self, dna: Sequence[str]) -> Tokens:
        """Return the tokens of upper-case nucleotides, with [CLS] before and [SEP] behind each."""
        ends = np.cumsum([len(sequence) for sequence in dna], dtype=np.int64)
        last = int(ends[-1]) if len(dna) else 0
        borders = np.searchsorted(ends, np.arange(_SLICE, last, _SLICE))
        cuts = [0, *np.unique(borders).tolist(), len(dna)]
        parts = [self._tokenize(dna[a:b]) for a, b in pairwise(cuts)]
        ids = np.concatenate([part.ids for part in parts])
        lengths = np.concatenate([part.lengths for part in parts])
        return Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]))

    def _tokenize(self, dna: Sequence[str]) -> Tokens:
        """Merge the pairs of all sequences at once."""
        text = "".join(f"{_OPEN}{sequence}{_CLOSE}" for sequence in dna)
        ids = self._letters[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
        left, right, rank, merged, groups = self._merges
        for end in groups:
            pair_rank = rank[left[ids[:-1]] + right[ids[1:]]]
            candidates = np.flatnonzero(pair_rank < end)
            first = settle(candidates, pair_rank[candidates])
            ids[first] = merged[pair_rank[first]]
            ids = np.delete(ids, first + 1)
        starts = np.flatnonzero(ids == self._cls)
        return Tokens(ids.astype(np.int64), np.append(starts, len(ids)))


def _parsed(tokenizer_json: bytes) -> tuple[dict[str, int], list[list[str]]]:
    """Return the id of each token, and the merges."""
    model = json.loads(tokenizer_json)["model"]
    vocabulary, merges = model["vocab"], model["merges"]
    if any(type(token_id) is not int for token_id in vocabulary.values()):
        raise ValueError("the id of a token is not a whole number")
    if min(vocabulary.values()) < 0 or max(vocabulary.values()) >= _MOST_TOKENS:
        raise ValueError(f"token ids must lie in 0..{_MOST_TOKENS - 1}")
    if len(merges) >= _MOST_TOKENS:
        raise ValueError(f"{len(merges):,} merges, more than tokens")
    return vocabulary, [m.split(" ") if isinstance(m, str) else m for m in merges]


def _tabulate(vocabulary: dict[str, int], pairs: list[list[str]]) -> _Merges:
    """Check the merges and put them into tables."""
    size = max(vocabulary.values()) + 1
    lefts = sorted({vocabulary[a] for a, _ in pairs})
    rights = sorted({vocabulary[b] for _, b in pairs})
    columns = len(rights) + 1
    if (len(lefts) + 1) * columns > _MOST_PAIRS:
        raise ValueError(f"{len(lefts):,} times {len(rights):,} pairs of tokens")
    left, right = np.zeros(size, np.int32), np.zeros(size, np.int32)
    left[lefts] = np.arange(1, len(lefts) + 1) * columns
    right[rights] = np.arange(1, columns)
    rank = np.full((len(lefts) + 1) * columns, len(pairs), np.uint16)
    merged = np.zeros(len(pairs), np.uint16)
    known = {token for token in vocabulary if len(token) == 1}
    in_group: set[str] = set()
    groups = []
    for place, (a, b) in enumerate(pairs):
        if a not in known or b not in known or a + b in known:
            raise ValueError(f"merge {place} ({a!r:.40}, {b!r:.40}) is out of order")
        known.add(a + b)
        rank[left[vocabulary[a]] + right[vocabulary[b]]] = place
        merged[place] = vocabulary[a + b]
        if a in in_group or b in in_group:
            groups.append(place)
            in_group.clear()
            if len(groups) > _MOST_GROUPS:
                raise ValueError(f"its merges need more than {_MOST_GROUPS} passes")
        in_group.add(a + b)
    return _Merges(left, right, rank, merged, [*groups, len(pairs)])


def settle(place: NDArray[np.int64], rank: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Keep the pair of lowest rank among pairs that share a token, and the leftmost of equal ones.

    A pair wins if it touches no pair of lower rank, and the pairs that touch it are dropped. This
    repeats until no pair is left. Touching pairs of the same rank are runs of one letter; every
    other one wins.

    Args:
        place: start of each pair, ascending; two pairs touch if their starts are neighbours.
        rank: rank of each pair.

    Returns:
        starts of the pairs that are kept, in no order.
    """
    kept = [place[:0]]
    while len(place):
        touches = np.zeros(len(place) + 1, dtype=np.bool_)
        touches[1:-1] = place[1:] - place[:-1] == 1
        rises = np.zeros(len(place) + 1, dtype=np.bool_)
        falls = rises.copy()
        rises[1:-1] = touches[1:-1] & (rank[1:] > rank[:-1])
        falls[1:-1] = touches[1:-1] & (rank[1:] < rank[:-1])
        index = np.arange(len(place))
        starts_run = ~touches[:-1] | rises[:-1] | falls[:-1]
        run_start = np.maximum.accumulate(np.where(starts_run, index, 0))
        wins = ((index - run_start) % 2 == 0) & ~rises[run_start] & ~falls[1:]
        kept.append(place[wins])
        gone = wins.copy()
        gone[1:] |= wins[:-1] & touches[1:-1]
        gone[:-1] |= wins[1:] & touches[1:-1]
        place, rank = place[~gone], rank[~gone]
    return np.concatenate(kept)
