"""Shards of `embed`: the embeddings of one block each."""

from typing import NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from virnucpro.runs.shard_text import lines_array
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.records import record_id


class EmbeddingShard(NamedTuple):
    """Embeddings of a block of P records.

    Attributes:
        ids: record ids, one per line.
        problems: reason why a record has no embedding, one per line; empty if it has one.
        record_P2: letters and rows of each record, int64; no rows if it has no embedding.
        values_RD: rows of all records end to end, fp32 or fp16.
    """

    ids: NDArray[np.uint8]
    problems: NDArray[np.uint8]
    record_P2: NDArray[np.int64]
    values_RD: NDArray[np.floating]

    def encode(self) -> bytes:
        """Return the shard as a safetensors file."""
        return safetensors.numpy.save(self._asdict())

    @classmethod
    def decode(cls, content: bytes) -> "EmbeddingShard":
        """Return the shard that `encode` made."""
        return cls(**safetensors.numpy.load(content))


def make_embedding_shard(
    block: Block,
    problems: list[str],
    rows: list[int],
    values_RD: NDArray[np.floating],
) -> EmbeddingShard:
    """Put the embeddings of the records of a block into a shard."""
    ids = [record_id(piece.header) for piece in block.pieces]
    lengths = [piece.length for piece in block.pieces]
    return EmbeddingShard(
        lines_array(ids),
        lines_array(problems),
        np.column_stack([lengths, rows]).astype(np.int64),
        values_RD,
    )
