"""DNABERT-S's byte-pair tokens, for all sequences of a block at once.

Byte-pair encoding merges the neighbours of lowest rank first, the leftmost among equals. Here the
merges are cut into groups, a new one wherever a merge needs a token that the group makes. Within a
group merges can only take tokens from each other, so all sequences go through a group together:
find the pairs, settle which of those that share a token wins, and merge. The published vocabulary
of 4,096 needs eight groups. The tokens are those of the library `tokenizers`, with which the tests
compare, at several times its speed on one core (benchmarks/host.py).
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.encoders.packing import Tokens
from virnucpro.errors import BundleError, reading

#: Stand for [CLS] and [SEP] in the text of a block; no nucleotide has these letters.
_OPEN, _CLOSE = "<", ">"
#: Most tokens of a vocabulary, cells of its table of pairs, and groups of its merges. The published
#: one has 4,096 tokens, 300 times 279 cells and eight groups.
_MOST_TOKENS = 1 << 16
_MOST_PAIRS = 1 << 26
_MOST_GROUPS = 256
#: Letters that go through the merges together: few enough for a cache, and for the interpreter's
#: lock to be free for other threads now and then.
_SLICE = 1 << 16


class _Merges(NamedTuple):
    """The merges as tables.

    Attributes:
        left: row of a token as the left one of a pair times the columns, by token id.
        right: column of a token as the right one, by token id; row and column 0 merge with nothing.
        rank: rank of each pair, rows and columns end to end; `len(merged)` where there is none.
        merged: token that the merge of each rank makes.
        groups: one past the last rank of each group.
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    rank: NDArray[np.uint16]
    merged: NDArray[np.uint16]
    groups: list[int]


class DnaTokenizer:
    """DNABERT-S's tokenizer, built from its `tokenizer.json`.

    Args:
        tokenizer_json: the content of the file.
        where: its name, for messages.

    Raises:
        BundleError: when the content is not a byte-pair tokenizer with [CLS], [SEP] and [UNK] whose
            merges make each token once and only of tokens made before.
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
        """Return the tokens of upper-case nucleotides, [CLS] before and [SEP] behind each."""
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
        raise ValueError("a token whose id is no whole number")
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
    """Of pairs that share a token keep the one of lowest rank, the leftmost among equals.

    A pair that no pair of lower rank touches wins, and those that touch it are gone; so on until
    none is left. Of touching pairs of one rank, which are runs of one letter, every other one wins.

    Args:
        place: where each pair starts, ascending; two pairs touch when one starts behind the other.
        rank: rank of each pair.

    Returns:
        where the pairs start that are kept, in no order.
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
