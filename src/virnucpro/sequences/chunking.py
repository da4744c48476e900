"""Cuts records into chunks exactly as the original VirNucPro does (docs/method.md)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import SettingsError

#: Limits of the chunk length in bases, for bundles, training and prediction. The shortest chunk
#: holds one codon.
SHORTEST_CHUNK, LONGEST_CHUNK = 3, 1_000_000
Int64 = NDArray[np.int64]


class Chunks(NamedTuple):
    """Chunks of several records, one entry per chunk, in record order.

    Attributes:
        record: index of the record within the call.
        number: number of the chunk within its record, from 1.
        start: first base on the forward strand of the record, from 0.
        end: one past the last base.
    """

    record: Int64
    number: Int64
    start: Int64
    end: Int64


def check_chunk_length(length: int) -> None:
    """Refuse a chunk length that no bundle can have.

    Raises:
        SettingsError: the length is out of bounds.
    """
    if not SHORTEST_CHUNK <= length <= LONGEST_CHUNK:
        raise SettingsError(
            f"--chunk-length {length}: give {SHORTEST_CHUNK} bases, one codon, to {LONGEST_CHUNK:,}"
        )


def chunk_count(length: int, chunk_length: int) -> int:
    """Return the number of chunks of a record of `length` bases; 0 if it is empty."""
    return -(-length // chunk_length)


def chunk_starts(number: Int64, length: Int64, chunk_length: int) -> Int64:
    """Return the start of chunk `number` (from 0) of a record of `length` bases.

    The surplus `n * C - L` is spread over all `n` chunks, so the last chunk is often short. This
    follows `split_fasta_chunk` of the original (Li et al., Briefings in Bioinformatics 2025).
    """
    count = -(-length // chunk_length)
    low, rest = np.divmod(count * chunk_length - length, count)
    start: Int64 = number * chunk_length - number * low - np.minimum(number, low + rest)
    return start


def chunk_start(number: int, length: int, chunk_length: int) -> int:
    """Return `chunk_starts` of one chunk, without an array, as it is called for every record."""
    count = chunk_count(length, chunk_length)
    low, rest = divmod(count * chunk_length - length, count)
    return number * chunk_length - number * low - min(number, low + rest)


def chunk_records(
    lengths: Int64, chunk_length: int, first: Int64 | None = None, last: Int64 | None = None
) -> Chunks:
    """Cut records of `lengths` bases into chunks of at most `chunk_length` bases.

    Args:
        lengths: bases of each record.
        chunk_length: bases of a chunk.
        first: number, from 0, of the first wanted chunk of each record (default: 0).
        last: one past the last wanted chunk of each record (default: all).
    """
    first = np.zeros_like(lengths) if first is None else first
    last = -(-lengths // chunk_length) if last is None else last
    counts = last - first
    record = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(record)) - (np.cumsum(counts) - counts - first)[record]
    length = lengths[record]
    start = chunk_starts(number, length, chunk_length)
    return Chunks(record, number + 1, start, np.minimum(length, start + chunk_length))
