"""What a device does with a block: prepare it on the host, then score it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from virnucpro.bundles import Bundle
from virnucpro.classify import FrameClassifier, load_classifier
from virnucpro.encoders import Tokens, protein_tokens
from virnucpro.engine.blocks import Block
from virnucpro.engine.devices import Device, keep_freed_memory
from virnucpro.errors import SettingsError
from virnucpro.sequences import Chunks, Frames, Nucleotides, chunk_records, find_open_frames


@dataclass
class Work:
    """What a worker has done so far.

    Attributes:
        records: records prepared.
        frames: open frames scored.
        tokens: tokens that went through the encoders.
        seconds: time of each stage; the host's stages run beside the device's.
    """

    records: int = 0
    frames: int = 0
    tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the body to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - started
            self.seconds[stage] = self.seconds.get(stage, 0.0) + passed


class Prepared(NamedTuple):
    """A block as the device needs it.

    Attributes:
        block: where it came from.
        chunks: chunks of the block's pieces; `record` is the index of the piece.
        frames: open frames of the chunks.
        protein: tokens of each frame's protein.
        dna: tokens of each frame's nucleotides.
    """

    block: Block
    chunks: Chunks
    frames: Frames
    protein: Tokens
    dna: Tokens


class Scored(NamedTuple):
    """A block's result.

    Attributes:
        prepared: what was scored.
        scores_S2: P(other) and P(virus) of each open frame, fp32.
    """

    prepared: Prepared
    scores_S2: NDArray[np.float32]


class Worker:
    """Scores blocks with one bundle on one device.

    `prepare` needs no device and may run in another thread than `score`.

    Args:
        bundle: encoders, head and tokenizer.
        device: where to compute and in which precision.
        chunk_length: bases of a chunk.
    """

    def __init__(self, bundle: Bundle, device: Device, chunk_length: int) -> None:
        if device.device.type == "cpu":
            keep_freed_memory()
        self._tokenizer = bundle.tokenizer()
        self._model: FrameClassifier = load_classifier(bundle, device.device, device.dtype)
        self._precision = device.precision
        self._token_budget = device.token_budget
        self._chunk_length = chunk_length
        self.work = Work()

    def prepare(self, block: Block) -> Prepared:
        """Cut a block's pieces into chunks, find their open frames and tokenize them."""
        with self.work.timed("chunks and frames"):
            sequences = Nucleotides.join([piece.sequence for piece in block.pieces])
            chunks, shift = self._chunks(block, sequences)
            frames = find_open_frames(sequences, chunks.start + shift, chunks.end + shift)
        with self.work.timed("tokens"):
            protein = protein_tokens(frames.residues, frames.protein_offsets)
            dna = self._tokenizer(frames.dna)
        return Prepared(block, chunks, frames, protein, dna)

    def _chunks(self, block: Block, sequences: Nucleotides) -> tuple[Chunks, NDArray[np.int64]]:
        """Return the chunks of a block and how far each lies from its place in `sequences`."""
        table = np.array(
            [(p.first_chunk, p.last_chunk, p.length, p.offset) for p in block.pieces], np.int64
        )
        first, last, lengths, offsets = table.T
        chunks = chunk_records(lengths, self._chunk_length, first, last)
        return chunks, (sequences.offsets[:-1] - offsets)[chunks.record]

    @torch.inference_mode()
    def score(self, prepared: Prepared) -> Scored:
        """Embed and classify the open frames of a prepared block."""
        work = self.work
        if not len(prepared.frames.chunk):
            scores_S2 = np.empty((0, 2), dtype=np.float32)
        else:
            with work.timed("protein encoder"):
                protein_SD = self._model.embed_proteins(prepared.protein, self._token_budget)
            with work.timed("DNA encoder"):
                dna_SD = self._model.embed_dna(prepared.dna, self._token_budget)
            with work.timed("head"):
                scores_S2 = self._model(protein_SD, dna_SD).cpu().numpy()
        if not np.isfinite(scores_S2).all():
            first = prepared.block.pieces[0].record + 1
            raise SettingsError(
                f"scores of the block from record {first} on are not finite in {self._precision}; "
                "try --precision fp32, or check the bundle"
            )
        work.records += sum(piece.first_chunk == 0 for piece in prepared.block.pieces)
        work.frames += len(scores_S2)
        work.tokens += len(prepared.protein.ids) + len(prepared.dna.ids)
        return Scored(prepared, scores_S2)
