"""The task of `embed`: embeddings of whole records by one encoder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from virnucpro.bundles.settle import settle
from virnucpro.bundles.stored_encoder import Model, load_model
from virnucpro.embedding.shard import make_embedding_shard
from virnucpro.embedding.worker import Embedder
from virnucpro.encoders.pooling import Pooling
from virnucpro.errors import BundleError
from virnucpro.runs.devices import Budgets, Device, Settled
from virnucpro.sequences.blocks import Block, cut_whole_records
from virnucpro.sequences.fragments import Source

#: Largest number of letters in a block: a few passes of a GPU. With `tokens` the shard of a block
#: has some hundred MB.
_BLOCK_LETTERS = 1 << 18
_BLOCK_LETTERS_OF_TOKENS = 1 << 15


@dataclass(frozen=True)
class Embedding:
    """A `Task` that embeds records.

    Attributes:
        model: name or path of the encoder, as for `load_model`.
        model_sha256: digest of the manifest of the encoder.
        layer: layer whose hidden states are read, counted from 1.
        pooling: how the hidden states of a record become vectors.
        dtype: type of the vectors, `float32` or `float16`.
        precision: requested precision.
    """

    model: str
    model_sha256: str
    layer: int
    pooling: Pooling
    dtype: str
    precision: str

    @property
    def block_letters(self) -> int:
        """Largest number of letters in a block."""
        return _BLOCK_LETTERS_OF_TOKENS if self.pooling == "tokens" else _BLOCK_LETTERS

    def cut(self, inputs: Sequence[Source]) -> Iterator[Block]:
        """Put whole records into blocks."""
        kind = self._model(is_checked=True).kind
        return cut_whole_records(inputs, kind, self.block_letters)

    def settle(self, device: str, *, is_checked: bool) -> Settled:
        """Choose the precision and budgets that fit the encoder."""
        return settle(device, self.precision, self._model(is_checked=is_checked))

    def worker(self, device: Device, budgets: Budgets) -> Embedder:
        """Load the encoder."""
        model = self._model(is_checked=True)
        return Embedder(
            model, device, self.layer, self.pooling, np.dtype(self.dtype), budgets.protein
        )

    def unscored(self, block: Block, problem: str) -> bytes:
        """Return a shard without vectors, with the problem of each record."""
        width = self._model(is_checked=True).config.width
        problems = [piece.problem or problem for piece in block.pieces]
        values_RD = np.empty((0, width), np.dtype(self.dtype))
        return make_embedding_shard(block, problems, [0] * len(problems), values_RD).encode()

    def _model(self, *, is_checked: bool) -> Model:
        model = load_model(self.model, is_checked=is_checked)
        if model.sha256 != self.model_sha256:
            raise BundleError(f"{model.path}: differs from the encoder that the run started with")
        return model
