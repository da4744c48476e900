"""What a device does with a block of `embed`."""

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.bundles.loading import load_encoder, load_tokenizer
from virnucpro.bundles.models import Model
from virnucpro.embedding.shard import make_embedding_shard
from virnucpro.encoders import Network, Tokens, Transformer, encode
from virnucpro.encoders.in_fp32 import InFp32
from virnucpro.encoders.packing import to_host
from virnucpro.encoders.pooling import SPECIAL_TOKENS, Pooling, pool
from virnucpro.encoders.precision import stored_bits
from virnucpro.encoders.speed import speed_up
from virnucpro.errors import SettingsError
from virnucpro.runs.clock import StageClock
from virnucpro.runs.devices import Device, ready_process
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.nucleotides import as_dna
from virnucpro.sequences.proteins import residues_of
from virnucpro.sequences.records import record_id


class PreparedRecords(NamedTuple):
    """A block as the device needs it.

    Attributes:
        block: where it came from.
        which: indices of the records that can be embedded.
        tokens: of these.
    """

    block: Block
    which: NDArray[np.int64]
    tokens: Tokens


@dataclass
class PendingRecords:
    """A block that its device may still be computing.

    Attributes:
        prepared: what is being embedded, without the records that need too much memory.
        too_long: indices of those records.
        values_RD: where the vectors will be, on the host.
        is_finite_R: whether each is finite.
        clock: of the device's stages.
    """

    prepared: PreparedRecords
    too_long: list[int]
    values_RD: Tensor
    is_finite_R: Tensor
    clock: StageClock


class Embedder:
    """Embeds blocks with one encoder on one device; a `BlockWorker`.

    Args:
        model: the encoder's files.
        device: where to compute and in which precision.
        layer: whose hidden states, from 1.
        pooling: what is kept of them.
        dtype: of the vectors.
        token_budget: most tokens of a forward pass, but for a longer sequence.

    Attributes:
        work: what was done so far.
        notes: how the network is computed and why nothing faster.
    """

    def __init__(
        self,
        model: Model,
        device: Device,
        layer: int,
        pooling: Pooling,
        dtype: np.dtype[Any],
        token_budget: int,
    ) -> None:
        ready_process(device.device)
        self._model, self._device, self._layer, self._pooling = model, device, layer, pooling
        self._budget = token_budget
        self._dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        self._tokenizer = load_tokenizer(model, model.kind)
        bits = stored_bits(device.precision, device.device)
        load = partial(load_encoder, model.stored, layer=layer)
        self._network = cast("Transformer", load(device.device, device.dtype, bits=bits))
        self._in_fp32 = InFp32(partial(load, dtype=torch.float32), device.device)
        self.notes = [f"encoder: {speed_up(self._network, device.precision)}"]
        self.work = Work()
        self._counting = threading.Lock()

    @property
    def backends(self) -> list[str]:
        """How the network is computed, without the reasons."""
        return [note.partition(";")[0] for note in self.notes]

    def prepare(self, block: Block) -> PreparedRecords:
        """Tokenize a block's records."""
        with self.work.timed("tokens"):
            which = [i for i, piece in enumerate(block.pieces) if not piece.problem]
            texts = [block.pieces[i].sequence for i in which]
            clean = as_dna if self._model.kind == "dna" else residues_of
            tokens = self._tokenizer([clean(text) for text in texts])
        return PreparedRecords(block, np.array(which, dtype=np.int64), tokens)

    @torch.inference_mode()
    def submit(self, prepared: PreparedRecords) -> PendingRecords:
        """Start to embed a prepared block; records that need too much memory are left out."""
        lost: list[int] = []
        clock = StageClock(self._device.device)
        values_RD, is_finite_R = self._values(self._network, prepared.tokens, clock, lost)
        too_long = prepared.which[lost].tolist()
        if lost:
            left = np.delete(np.arange(len(prepared.which)), lost)
            tokens = prepared.tokens.choose(left)
            prepared = PreparedRecords(prepared.block, prepared.which[left], tokens)
        return PendingRecords(prepared, too_long, values_RD, is_finite_R, clock)

    def finish(self, pending: PendingRecords) -> tuple[int, bytes]:
        """Wait for a block's vectors and put them into a shard.

        Raises:
            SettingsError: when they are not finite in fp32 either.
        """
        for stage, seconds in pending.clock.wait().items():
            self.work.add(stage, seconds)
        block, which, tokens = pending.prepared
        values_RD, rows_S = pending.values_RD.numpy(), self._rows(tokens)
        of_R = np.repeat(np.arange(len(which)), rows_S)
        faulty_R = ~pending.is_finite_R.numpy()
        if faulty_R.any():
            faulty = np.unique(of_R[faulty_R])
            values_RD[np.isin(of_R, faulty)] = self._redone(block, tokens.choose(faulty))
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
        """Return how many vectors each sequence gets."""
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
        """Return vectors on the host, and which are finite; a GPU may still have to write them."""
        with clock.timed("encoder"):
            found = self._encoded(network, tokens, too_long)
        if found is None:
            nothing = torch.empty(0, self._model.config.width, dtype=self._dtype)
            return nothing, torch.empty(0, dtype=torch.bool)
        values_RD = found.to(self._dtype)
        return to_host(values_RD), to_host(values_RD.isfinite().all(dim=1))

    @torch.inference_mode()
    def _redone(self, block: Block, tokens: Tokens) -> NDArray[np.floating]:
        """Embed some records of a block in fp32: on the device if it has room, else on the CPU."""
        self.work.frames_redone += len(tokens.lengths)

        def compute(exact: Network) -> tuple[Tensor, Tensor]:
            clock = StageClock(exact.device)
            found = self._values(cast("Transformer", exact), tokens, clock)
            self.work.add("again in fp32", sum(clock.wait().values()))
            return found

        values_RD, is_finite_R = self._in_fp32.compute(compute)
        if not bool(is_finite_R.all()):
            first = block.pieces[0].record + 1
            raise SettingsError(
                f"embeddings of the block from record {first} on are not finite in fp32; "
                "give --dtype fp32, or get the weights anew"
            )
        return values_RD.numpy()

    def _count_cut(self) -> None:
        with self._counting:  # packs go side by side on a CPU
            self.work.packs_cut += 1
