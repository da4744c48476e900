"""Clusters of similar sequences, by sketches of their k-mers.

The sketch of a sequence is the set of its canonical 21-mers with a hash below a threshold:
FracMinHash (Irber et al., bioRxiv 2022, doi:10.1101/2022.01.11.475838), a successor of MinHash
(Ondov et al., Genome Biology 2016). The share of hashes that two sketches have in common estimates
the share of common k-mers.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from virnucpro.sequences import BASE_NUMBERS, OTHER_BASE

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

#: Length of k-mers: the usual choice for genomes, too long to be shared by chance.
K = 21
#: Approximate number of hashes of all sequences; it limits the memory to some hundred MB.
HASHES = 1 << 23
#: Sequences are similar if they share this part of the smaller sketch: 94 % identity if one
#: contains the other (0.94 ** 21 = 0.27).
CONTAINMENT = 0.3
#: Number of sequences with a common hash that each sequence is compared to.
NEIGHBOURS = 16
#: Number of letters that are hashed at once; their codes fit the cache of a core.
_BATCH = 1 << 17


def clusters(
    sequences: Sequence[str], containment: float = CONTAINMENT, hashes: int = HASHES
) -> Int64:
    """Return the cluster of each sequence: single linkage of similar sequences.

    The share of k-mers that is kept depends on the size of the data: all k-mers of a small set, one
    in 24 of 200 Mbp. A sequence without a kept k-mer is a cluster of its own.

    Args:
        sequences: upper-case letters; k-mers with a letter other than A, C, G, T are skipped.
        containment: least share of the smaller of two sketches that both have in common.
        hashes: approximate number of hashes to keep.

    Returns:
        for each sequence the lowest index of its cluster.
    """
    hash_H, sequence_H = _sketches(sequences, hashes)
    sizes = np.bincount(sequence_H, minlength=len(sequences))
    first, second, shared = _shared(hash_H, sequence_H, len(sequences))
    similar = shared >= containment * np.minimum(sizes[first], sizes[second])
    return _linked(len(sequences), first[similar], second[similar])


def _sketches(sequences: Sequence[str], hashes: int) -> tuple[UInt64, Int64]:
    """Return the distinct hashes of each sequence, and their sequences, sorted by sequence."""
    bases = sum(map(len, sequences))
    limit = np.uint64(min(1.0, hashes / max(1, bases)) * (2**64 - 2**12))
    found = [
        (hash_P[kept], owner_P[kept])
        for letters, owner_P in _batches(sequences)
        for hash_P, is_kmer in [_hashes(letters)]
        for kept in [is_kmer & (hash_P <= limit)]
    ]
    hash_H = np.concatenate([h for h, _ in found] or [np.empty(0, dtype=np.uint64)])
    sequence_H = np.concatenate([s for _, s in found] or [np.empty(0, dtype=np.int64)])
    order = np.lexsort((hash_H, sequence_H))
    hash_H, sequence_H = hash_H[order], sequence_H[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (np.diff(hash_H) != 0) | (np.diff(sequence_H) != 0)
    return hash_H[is_new], sequence_H[is_new]


def _batches(sequences: Sequence[str]) -> Iterator[tuple[NDArray[np.uint8], Int64]]:
    """Yield letters of many sequences with gaps between them, and the sequence of each k-mer."""
    texts: list[str] = []
    owners: list[int] = []
    letters = 0
    for index, sequence in enumerate(sequences):
        for start in range(0, len(sequence) - K + 1, _BATCH):
            texts.append(sequence[start : start + _BATCH + K - 1])
            owners.append(index)
            letters += len(texts[-1])
            if letters >= _BATCH:
                yield _joined(texts, owners)
                texts, owners, letters = [], [], 0
    if texts:
        yield _joined(texts, owners)


def _joined(texts: list[str], owners: list[int]) -> tuple[NDArray[np.uint8], Int64]:
    joined = np.frombuffer("-".join(texts).encode("ascii"), dtype=np.uint8)
    owner_P = np.repeat(np.array(owners, dtype=np.int64), [len(text) + 1 for text in texts])
    return joined, owner_P[: len(joined) - K + 1]


def _hashes(letters: NDArray[np.uint8]) -> tuple[UInt64, NDArray[np.bool_]]:
    """Return the hash of the canonical k-mer at each place, and whether the place has a k-mer."""
    code = BASE_NUMBERS[letters]
    other = np.concatenate([[0], np.cumsum(code == OTHER_BASE)])
    is_kmer = other[K:] == other[:-K]
    base = (code & 3).astype(np.uint64)
    places = len(base) - K + 1
    forward_P, reverse_P = np.zeros((2, places), dtype=np.uint64)
    for i in range(K):
        forward_P <<= 2
        forward_P |= base[i : i + places]
        reverse_P |= (base[i : i + places] ^ 3) << (2 * i)
    return _mixed(np.minimum(forward_P, reverse_P)), is_kmer


def _mixed(values: UInt64) -> UInt64:
    """Return SplitMix64's output for each value (Steele et al., OOPSLA 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _shared(hash_H: UInt64, sequence_H: Int64, count: int) -> tuple[Int64, Int64, Int64]:
    """Return pairs of sequences and the number of hashes that they share.

    If thousands of sequences are nearly equal, comparing all pairs would take too long. So the
    sequences are ranked by their lowest hash, which places those with many common hashes next to
    each other (MinHash), and each is compared to the next `NEIGHBOURS` sequences with the hash. The
    counts are exact if no more sequences have the hash, and never too high.
    """
    lowest = np.full(count, 2**64 - 1, dtype=np.uint64)
    starts = np.flatnonzero(np.diff(sequence_H, prepend=-1))
    lowest[sequence_H[starts]] = hash_H[starts]
    by_rank = np.argsort(lowest, kind="stable")
    rank = np.empty(count, dtype=np.int64)
    rank[by_rank] = np.arange(count)
    order = np.lexsort((rank[sequence_H], hash_H))
    hash_H, rank_H = hash_H[order], rank[sequence_H[order]]
    codes: Int64 = np.empty(0, dtype=np.int64)
    shared: Int64 = np.empty(0, dtype=np.int64)
    for step in range(1, NEIGHBOURS + 1):
        same = hash_H[step:] == hash_H[:-step]
        found, times = np.unique(
            rank_H[:-step][same] * count + rank_H[step:][same], return_counts=True
        )
        codes, which = np.unique(np.concatenate([codes, found]), return_inverse=True)
        weights = np.concatenate([shared, times])
        shared = np.bincount(which, weights, minlength=len(codes)).astype(np.int64)
    first, second = np.divmod(codes, count)
    return by_rank[first], by_rank[second], shared


def _linked(count: int, first: Int64, second: Int64) -> Int64:
    """Return for each of `count` indices the lowest one that it is linked to, even indirectly."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(index) for index in range(count)], dtype=np.int64)
