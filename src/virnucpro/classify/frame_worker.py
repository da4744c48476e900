"""Workers that compute values of the open frames of blocks with the networks of a bundle."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.bundles import Bundle
from virnucpro.bundles.settle import choose_budgets
from virnucpro.classify.classifier import FrameClassifier, load_classifier
from virnucpro.encoders import Tokens
from virnucpro.encoders.network_worker import NetworkWorker
from virnucpro.encoders.packing import filled_up, one_thread_an_operation, to_host
from virnucpro.encoders.precision import stored_bits
from virnucpro.encoders.six_frames import window_tokens
from virnucpro.encoders.table import spec_of
from virnucpro.runs.clock import StageClock
from virnucpro.runs.devices import Budgets, Device
from virnucpro.sequences import Chunks, FrameRule, Frames, Nucleotides, find_frames
from virnucpro.sequences.blocks import Block, chunks_of
from virnucpro.sequences.frames import FrameKind


class Prepared(NamedTuple):
    """A block, ready for the device.

    Attributes:
        block: the block.
        chunks: chunks of the block's pieces; `record` is the index of the piece.
        frames: open frames of the chunks.
        protein: tokens of the protein of each frame, or of windows of DNA if the network reads all
            frames together.
        dna: tokens of the nucleotides of each frame; empty without a DNA encoder.
    """

    block: Block
    chunks: Chunks
    frames: Frames
    protein: Tokens
    dna: Tokens


@dataclass(frozen=True)
class Pending:
    """A block that the device may still be computing.

    Attributes:
        prepared: the block.
        values_SX: tensor on the host that receives the X values of each frame.
        clock: times the stages on the device.
    """

    prepared: Prepared
    values_SX: Tensor
    clock: StageClock


class FrameWorker(NetworkWorker[FrameClassifier], ABC):
    """Computes X values of every open frame of blocks, with one bundle on one device.

    It is a `BlockWorker`. `prepare` needs no device and may run in a thread of its own.

    Args:
        bundle: encoders, head and tokenizer.
        device: the device and its precision.
        chunk_length: bases of a chunk.
        budgets: largest number of tokens of a forward pass (default: what fits this device).
        model: the network of the bundle, if it is already loaded; its encoders may be changed.
        frames: which frames to use (default: as the bundle says).
    """

    remedy = "the weights of the bundle must be damaged, fetch it again"

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        chunk_length: int,
        budgets: Budgets | None = None,
        model: FrameClassifier | None = None,
        frames: FrameKind | None = None,
    ) -> None:
        super().__init__(device, lambda where: load_classifier(bundle, where, torch.float32))
        self._bundle, self._chunk_length = bundle, chunk_length
        manifest = bundle.manifest
        configs = list(manifest.encoders.values())
        self._budgets = budgets or choose_budgets(device, configs)
        self._rule = FrameRule(frames or manifest.frames, manifest.least_residues)
        self._protein_tokens = spec_of(manifest.protein_encoder).tokens
        self._tokenizer = None if manifest.dna_encoder is None else bundle.tokenizer()
        bits = stored_bits(device.precision, device.device)
        self._model = model or load_classifier(bundle, device.device, device.dtype, bits)
        self.notes = self._model.speed_up(device.precision)

    @abstractmethod
    def _compute(
        self, model: FrameClassifier, protein: Tokens, dna: Tokens, clock: StageClock
    ) -> Tensor:
        """Return values_SX on the host; a GPU may still be writing them."""

    @abstractmethod
    def finish(self, pending: Pending) -> tuple[int, bytes]:
        """Collect the values of a block; return the index of the block and its shard."""

    @property
    @abstractmethod
    def _width(self) -> int:
        """Number of values for each frame, X."""

    def prepare(self, block: Block) -> Prepared:
        """Cut the pieces of a block into chunks, find their open frames and tokenize them."""
        with self.work.timed("chunks and frames"):
            sequences = Nucleotides.join([p.sequence if p.chunks else "" for p in block.pieces])
            chunks = chunks_of(block.pieces, self._chunk_length)
            offsets = np.array([piece.offset for piece in block.pieces], np.int64)
            shift = (sequences.offsets[:-1] - offsets)[chunks.record]
            start, end = chunks.start + shift, chunks.end + shift
            frames = find_frames(sequences, start, end, self._rule)
        with self.work.timed("tokens"):
            if self._protein_tokens is None:  # all frames of a chunk are read together
                chosen = frames.chunk
                protein = window_tokens(sequences.letters_N, start[chosen], end[chosen])
            else:
                protein = self._protein_tokens(frames.residues, frames.protein_offsets)
            dna = self.tokenize(frames.dna)
        return Prepared(block, chunks, frames, protein, dna)

    def tokenize(self, dna: list[str]) -> Tokens:
        """Return the byte pairs of the nucleotides of frames; no tokens without a DNA encoder."""
        if self._tokenizer is None:
            return Tokens(np.empty(0, np.int64), np.zeros(len(dna) + 1, np.int64))
        return self._tokenizer(dna)

    @torch.inference_mode()
    def submit(self, prepared: Prepared) -> Pending:
        """Start to compute a prepared block; a GPU computes asynchronously."""
        clock = StageClock(self._device.device)
        if not len(prepared.frames.chunk):
            return Pending(prepared, torch.empty(0, self._width), clock)
        values_SX = self._compute(self._model, prepared.protein, prepared.dna, clock)
        return Pending(prepared, values_SX, clock)

    def collect(self, pending: Pending) -> NDArray[np.float32]:
        """Wait for the values_SX of a block; recompute values in fp32 that are not finite.

        Raises:
            SettingsError: values are not finite in fp32 either.
        """
        work, prepared = self.work, pending.prepared
        for stage, seconds in pending.clock.wait().items():
            work.add(stage, seconds)
        values_SX = pending.values_SX.numpy()
        faulty = np.flatnonzero(~np.isfinite(values_SX).all(axis=1))
        if len(faulty):
            protein, dna = prepared.protein.choose(faulty), prepared.dna.choose(faulty)
            values_SX[faulty] = self._recompute(
                prepared.block,
                len(faulty),
                lambda network, clock: self._compute(network, protein, dna, clock),
            )
        work.records += sum(piece.begins_record for piece in prepared.block.pieces)
        work.frames += len(prepared.frames.chunk)
        work.tokens += len(prepared.protein.ids) + len(prepared.dna.ids)
        return values_SX

    def _embed(
        self, model: FrameClassifier, protein: Tokens, dna: Tokens, clock: StageClock
    ) -> tuple[Tensor, Tensor]:
        """Return protein_SD and dna_SD on the device."""
        with clock.timed("protein encoder"):
            protein_SD = model.embed_proteins(protein, self._budgets.protein, self._count_cut)
        with clock.timed("DNA encoder"):
            dna_SD = model.embed_dna(dna, self._budgets.dna, self._count_cut)
        return protein_SD, dna_SD


class FrameScorer(FrameWorker):
    """Scores every open frame; the values are P(other) and P(virus)."""

    values = "scores"
    _width = 2

    def score(self, prepared: Prepared) -> NDArray[np.float32]:
        """Return scores_S2 of a prepared block."""
        return self.collect(self.submit(prepared))

    def _compute(
        self, model: FrameClassifier, protein: Tokens, dna: Tokens, clock: StageClock
    ) -> Tensor:
        protein_SD, dna_SD = self._embed(model, protein, dna, clock)
        with clock.timed("head"):
            if not protein_SD.is_cuda:
                rows = len(protein_SD)
                filled = (filled_up(part_SD) for part_SD in (protein_SD, dna_SD))
                with one_thread_an_operation():  # the division among threads changes the bits
                    return cast("Tensor", model(*filled))[:rows]
            return to_host(model(protein_SD, dna_SD))
