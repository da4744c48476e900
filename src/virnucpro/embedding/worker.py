"""Embeds the records of blocks with one encoder on one device."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.bundles.loading import load_encoder, load_tokenizer
from virnucpro.bundles.stored_encoder import Model
from virnucpro.embedding.shard import make_embedding_shard
from virnucpro.encoders import Tokens, Transformer, encode
from virnucpro.encoders.network_worker import NetworkWorker
from virnucpro.encoders.packing import to_host
from virnucpro.encoders.pooling import SPECIAL_TOKENS, Pooling, pool
from virnucpro.encoders.precision import stored_bits
from virnucpro.encoders.speed import speed_up
from virnucpro.runs.clock import StageClock
from virnucpro.runs.devices import Device
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.nucleotides import as_dna
from virnucpro.sequences.proteins import residues_of
from virnucpro.sequences.records import record_id


class PreparedRecords(NamedTuple):
    """A block, ready for the device.

    Attributes:
        block: the block.
        which: indices of the records that can be embedded.
        tokens: tokens of these records.
    """

    block: Block
    which: NDArray[np.int64]
    tokens: Tokens


@dataclass
class PendingRecords:
    """A block that the device may still be computing.

    Attributes:
        prepared: the block, without the records that need too much memory.
        too_long: indices of the records that need too much memory.
        values_RD: tensor on the host that receives the vectors.
        is_finite_R: tensor on the host that receives whether each vector is finite.
        clock: times the stages on the device.
    """

    prepared: PreparedRecords
    too_long: list[int]
    values_RD: Tensor
    is_finite_R: Tensor
    clock: StageClock


class Embedder(NetworkWorker[Transformer]):
    """Embeds blocks with one encoder on one device; a `BlockWorker`.

    Args:
        model: files of the encoder.
        device: the device and its precision.
        layer: layer whose hidden states are read, counted from 1.
        pooling: how the hidden states of a record become vectors.
        dtype: type of the vectors.
        token_budget: largest number of tokens of a forward pass; a longer sequence has its own.
    """

    values = "embeddings"
    remedy = "give --dtype fp32, or fetch the weights again"

    def __init__(
        self,
        model: Model,
        device: Device,
        layer: int,
        pooling: Pooling,
        dtype: np.dtype[Any],
        token_budget: int,
    ) -> None:
        load = partial(load_encoder, model.stored, layer=layer)
        super().__init__(
            device, lambda where: cast("Transformer", load(where, dtype=torch.float32))
        )
        self._model, self._layer, self._pooling = model, layer, pooling
        self._budget = token_budget
        self._dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        self._tokenizer = load_tokenizer(model, model.kind)
        bits = stored_bits(device.precision, device.device)
        self._network = cast("Transformer", load(device.device, device.dtype, bits=bits))
        self.notes = [f"encoder: {speed_up(self._network, device.precision)}"]

    def prepare(self, block: Block) -> PreparedRecords:
        """Tokenize the records of a block."""
        with self.work.timed("tokens"):
            which = [i for i, piece in enumerate(block.pieces) if not piece.problem]
            texts = [block.pieces[i].sequence for i in which]
            clean = as_dna if self._model.kind == "dna" else residues_of
            tokens = self._tokenizer([clean(text) for text in texts])
        return PreparedRecords(block, np.array(which, dtype=np.int64), tokens)

    @torch.inference_mode()
    def submit(self, prepared: PreparedRecords) -> PendingRecords:
        """Start to embed a prepared block; records that need too much memory are left out."""
        skipped: list[int] = []
        clock = StageClock(self._device.device)
        values_RD, is_finite_R = self._values(self._network, prepared.tokens, clock, skipped)
        too_long = prepared.which[skipped].tolist()
        if skipped:
            kept = np.delete(np.arange(len(prepared.which)), skipped)
            tokens = prepared.tokens.choose(kept)
            prepared = PreparedRecords(prepared.block, prepared.which[kept], tokens)
        return PendingRecords(prepared, too_long, values_RD, is_finite_R, clock)

    def finish(self, pending: PendingRecords) -> tuple[int, bytes]:
        """Wait for the vectors of a block and put them into a shard.

        Returns:
            the index of the block and its shard.

        Raises:
            SettingsError: vectors are not finite in fp32 either.
        """
        for stage, seconds in pending.clock.wait().items():
            self.work.add(stage, seconds)
        block, which, tokens = pending.prepared
        values_RD, rows_S = pending.values_RD.numpy(), self._rows(tokens)
        of_R = np.repeat(np.arange(len(which)), rows_S)
        faulty_R = ~pending.is_finite_R.numpy()
        if faulty_R.any():
            faulty = np.unique(of_R[faulty_R])
            chosen = tokens.choose(faulty)
            values_RD[np.isin(of_R, faulty)] = self._recompute(
                block, len(faulty), lambda network, clock: self._values(network, chosen, clock)[0]
            )
        problems, rows = [piece.problem for piece in block.pieces], [0] * len(block.pieces)
        for i in pending.too_long:
            piece = block.pieces[i]
            problems[i] = (
                f"record {piece.record + 1} ({record_id(piece.header)}): {piece.length:,} letters "
                "need more memory than the device has; embed it on a larger one"
            )
        for i, count in zip(which.tolist(), rows_S.tolist(), strict=True):
            rows[i] = count
        self.work.records += len(block.pieces)
        self.work.frames += len(which)
        self.work.tokens += len(tokens.ids)
        with self.work.timed("shards"):
            shard = make_embedding_shard(block, problems, rows, values_RD)
            return block.index, shard.encode()

    def _rows(self, tokens: Tokens) -> NDArray[np.int64]:
        """Return the number of vectors of each sequence."""
        if self._pooling == "tokens":
            return tokens.lengths - SPECIAL_TOKENS
        return np.ones(len(tokens.lengths), dtype=np.int64)

    def encode(self, tokens: Tokens) -> Tensor | None:
        """Return the vectors of sequences on the device, without waiting for it."""
        return self._encoded(self._network, tokens)

    def _encoded(
        self, network: Transformer, tokens: Tokens, too_long: list[int] | None = None
    ) -> Tensor | None:
        embed = partial(pool, network, pooling=self._pooling)
        rows_S = self._rows(tokens)
        return encode(
            embed, tokens, self._budget, network.device, self._count_cut, rows_S, too_long
        )

    def _values(
        self,
        network: Transformer,
        tokens: Tokens,
        clock: StageClock,
        too_long: list[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return vectors on the host, and which are finite; a GPU may still be writing both."""
        with clock.timed("encoder"):
            found = self._encoded(network, tokens, too_long)
            if found is None:
                nothing = torch.empty(0, self._model.config.width, dtype=self._dtype)
                return nothing, torch.empty(0, dtype=torch.bool)
            values_RD = found.to(self._dtype)
            # Within the stage: the clock then waits for these copies of a GPU, too.
            return to_host(values_RD), to_host(values_RD.isfinite().all(dim=1))
