"""What a device does with a block of `predict`: prepare it on the host, then score it."""

import threading
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.bundles import Bundle
from virnucpro.classify import CALL_NAMES, FrameClassifier, load_classifier
from virnucpro.classify.consensus import VIRUS
from virnucpro.classify.settle import choose_budgets
from virnucpro.encoders import Tokens, protein_tokens
from virnucpro.encoders.packing import filled_up, one_thread_an_operation, to_host
from virnucpro.encoders.precision import stored_bits
from virnucpro.encoders.six_frames import window_tokens
from virnucpro.errors import SettingsError
from virnucpro.prediction.shard import Kept, chunks_of, encode_shard, make_shard
from virnucpro.runs.clock import StageClock
from virnucpro.runs.devices import Budgets, Device, ready_process
from virnucpro.runs.work import Work
from virnucpro.sequences import (
    Chunks,
    FrameRule,
    Frames,
    Nucleotides,
    find_frames,
)
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.frames import FrameKind


class Prepared(NamedTuple):
    """A block as the device needs it.

    Attributes:
        block: where it came from.
        chunks: chunks of the block's pieces; `record` is the index of the piece.
        frames: open frames of the chunks.
        protein: tokens of each frame's protein; windows of DNA where all frames are read as one.
        dna: tokens of each frame's nucleotides; none without a DNA encoder.
    """

    block: Block
    chunks: Chunks
    frames: Frames
    protein: Tokens
    dna: Tokens


@dataclass(frozen=True)
class Pending:
    """A block that its device may still be computing.

    Attributes:
        prepared: what is being scored.
        scores_S2: where the scores will be, on the host.
        clock: of the device's stages.
    """

    prepared: Prepared
    scores_S2: Tensor
    clock: StageClock


class Worker:
    """Scores blocks with one bundle on one device.

    `prepare` needs no device and may run in another thread than the rest.

    Args:
        bundle: encoders, head and tokenizer.
        device: where to compute and in which precision.
        chunk_length: bases of a chunk.
        budgets: most tokens of a forward pass; by default what fits this device.
        model: the bundle's network, where it is loaded already; its encoders may be changed.
        frames: which frames to draw; by default as the bundle says.
        letters_above: for shards a record is virus whose p_virus is above; by default above the
            bundle's threshold.
        kept: calls of the records whose letters shards keep.

    Attributes:
        work: what was done so far.
        notes: how the networks are computed and why nothing faster, a line each.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        chunk_length: int,
        budgets: Budgets | None = None,
        model: FrameClassifier | None = None,
        frames: FrameKind | None = None,
        letters_above: float | None = None,
        kept: tuple[str, ...] = (CALL_NAMES[VIRUS],),
    ) -> None:
        ready_process(device.device)
        self._bundle, self._device, self._chunk_length = bundle, device, chunk_length
        self._budgets = budgets or choose_budgets(device, bundle.manifest)
        manifest = bundle.manifest
        self._rule = FrameRule(frames or manifest.frames, manifest.least_residues)
        threshold = manifest.thresholds.virus
        self._kept = Kept(kept, threshold if letters_above is None else letters_above)
        self._tokenizer = None if manifest.dna_encoder is None else bundle.tokenizer()
        bits = stored_bits(device.precision, device.device)
        self._model = model or load_classifier(bundle, device.device, device.dtype, bits)
        self._exact: FrameClassifier | None = None
        self.notes = self._model.speed_up(device.precision)
        self.work = Work()
        self._counting = threading.Lock()

    @property
    def backends(self) -> list[str]:
        """How the networks are computed, without the reasons."""
        return [note.partition(";")[0] for note in self.notes]

    def prepare(self, block: Block) -> Prepared:
        """Cut a block's pieces into chunks, find their open frames and tokenize them."""
        with self.work.timed("chunks and frames"):
            sequences = Nucleotides.join([p.sequence if p.chunks else "" for p in block.pieces])
            chunks, shift = self._chunks(block, sequences)
            start, end = chunks.start + shift, chunks.end + shift
            frames = find_frames(sequences, start, end, self._rule)
        with self.work.timed("tokens"):
            if self._rule.kind == "all":
                chosen = frames.chunk
                protein = window_tokens(sequences.letters_N, start[chosen], end[chosen])
            else:
                protein = protein_tokens(frames.residues, frames.protein_offsets)
            dna = self.tokenize(frames.dna)
        return Prepared(block, chunks, frames, protein, dna)

    def tokenize(self, dna: list[str]) -> Tokens:
        """Return the byte pairs of the nucleotides of frames; no tokens without a DNA encoder."""
        if self._tokenizer is None:
            return Tokens(np.empty(0, np.int64), np.zeros(len(dna) + 1, np.int64))
        return self._tokenizer(dna)

    def _chunks(self, block: Block, sequences: Nucleotides) -> tuple[Chunks, NDArray[np.int64]]:
        """Return the chunks of a block and how far each lies from its place in `sequences`."""
        chunks = chunks_of(block.pieces, self._chunk_length)
        offsets = np.array([piece.offset for piece in block.pieces], np.int64)
        return chunks, (sequences.offsets[:-1] - offsets)[chunks.record]

    def score(self, prepared: Prepared) -> NDArray[np.float32]:
        """Return P(other) and P(virus) of each open frame of a prepared block."""
        return self.collect(self.submit(prepared))

    @torch.inference_mode()
    def submit(self, prepared: Prepared) -> Pending:
        """Start to score a prepared block; a GPU goes on by itself."""
        clock = StageClock(self._device.device)
        if not len(prepared.frames.chunk):
            return Pending(prepared, torch.empty(0, 2), clock)
        scores_S2 = self._scores(self._model, prepared.protein, prepared.dna, clock)
        return Pending(prepared, scores_S2, clock)

    def collect(self, pending: Pending) -> NDArray[np.float32]:
        """Wait for `scores_S2` of a block; those that are not finite are computed anew in fp32.

        Raises:
            SettingsError: when they are not finite in fp32 either.
        """
        work, prepared = self.work, pending.prepared
        for stage, seconds in pending.clock.wait().items():
            work.add(stage, seconds)
        scores_S2 = pending.scores_S2.numpy()
        faulty = np.flatnonzero(~np.isfinite(scores_S2).all(axis=1))
        if len(faulty):
            scores_S2[faulty] = self._redone(prepared, faulty)
        self._count(prepared)
        return scores_S2

    def finish(self, pending: Pending) -> tuple[int, bytes]:
        """Wait for a block's scores and put them into a shard."""
        scores_S2 = self.collect(pending)
        block, chunks, frames, *_ = pending.prepared
        with self.work.timed("shards"):
            shard = make_shard(block, chunks, frames, scores_S2, self._chunk_length, self._kept)
            return block.index, encode_shard(shard)

    def _scores(
        self, model: FrameClassifier, protein: Tokens, dna: Tokens, clock: StageClock
    ) -> Tensor:
        """Return scores_S2 on the host; a GPU may still have to write them."""
        budgets, cut = self._budgets, self._count_cut
        with clock.timed("protein encoder"):
            protein_SD = model.embed_proteins(protein, budgets.protein, cut)
        with clock.timed("DNA encoder"):
            dna_SD = model.embed_dna(dna, budgets.dna, cut)
        with clock.timed("head"):
            if not protein_SD.is_cuda:
                rows = len(protein_SD)
                filled = (filled_up(part_SD) for part_SD in (protein_SD, dna_SD))
                with one_thread_an_operation():  # how a product is shared out shows in its bits
                    return cast("Tensor", model(*filled))[:rows]
            return to_host(model(protein_SD, dna_SD))

    @torch.inference_mode()
    def _redone(self, prepared: Prepared, faulty: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score some frames of a block in fp32: on the device if it has room, else on the CPU."""
        self.work.frames_redone += len(faulty)
        exact = self._exact_model()
        clock = StageClock(exact.device)
        protein, dna = prepared.protein.choose(faulty), prepared.dna.choose(faulty)
        scores_S2 = self._scores(exact, protein, dna, clock)
        for seconds in clock.wait().values():
            self.work.add("anew in fp32", seconds)
        if not scores_S2.isfinite().all():
            first = prepared.block.pieces[0].record + 1
            raise SettingsError(
                f"scores of the block from record {first} on are not finite in fp32; "
                "the bundle's weights must be wrong, get it anew"
            )
        return scores_S2.numpy()

    def _exact_model(self) -> FrameClassifier:
        """Return the network in fp32: on the device if it has room, else on the CPU."""
        if self._exact is None:
            try:
                self._exact = load_classifier(self._bundle, self._device.device, torch.float32)
            except torch.OutOfMemoryError:
                self._exact = load_classifier(self._bundle, torch.device("cpu"), torch.float32)
        return self._exact

    def _count(self, prepared: Prepared) -> None:
        """Count a block that is done."""
        pieces = prepared.block.pieces
        self.work.records += sum(piece.begins_record for piece in pieces)
        self.work.frames += len(prepared.frames.chunk)
        self.work.tokens += len(prepared.protein.ids) + len(prepared.dna.ids)

    def _count_cut(self) -> None:
        with self._counting:  # packs go side by side on a CPU
            self.work.packs_cut += 1
