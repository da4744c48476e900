"""Extracts the features that a head is trained on: the embeddings of every open frame."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.classify import FrameClassifier
from virnucpro.classify.bundle_task import BundleTask
from virnucpro.classify.frame_worker import FrameWorker, Pending, Prepared
from virnucpro.encoders import Tokens
from virnucpro.encoders.packing import to_host
from virnucpro.errors import SettingsError
from virnucpro.runs.clock import StageClock
from virnucpro.runs.devices import Budgets, Device
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.frames import codon_span


class FeatureShard(NamedTuple):
    """Features of the frames of a block.

    Attributes:
        frame_S6: place of each frame: index of the record; index of the chunk in the record; start
            and end of the bases that its codons cover on the forward strand of the record; index
            of the frame; number of residues; int64.
        features_SF: features of each frame, [DNA, protein], fp32.
    """

    frame_S6: NDArray[np.int64]
    features_SF: NDArray[np.float32]

    def encode(self) -> bytes:
        """Return the shard as a safetensors file."""
        return safetensors.numpy.save(self._asdict())

    @classmethod
    def decode(cls, content: bytes) -> "FeatureShard":
        """Return the shard that `encode` made."""
        return cls(**safetensors.numpy.load(content))


@dataclass(frozen=True)
class Features(BundleTask):
    """A `Task` that extracts features."""

    def worker(self, device: Device, budgets: Budgets) -> "FeatureWorker":
        """Load the networks of the bundle."""
        bundle = self.load(is_checked=True)
        return FeatureWorker(bundle, device, self.chunk_length, budgets, frames=self.frames)

    def unscored(self, block: Block, problem: str) -> bytes:
        """Raise an error, because the training would silently miss these records."""
        first = block.pieces[0].record + 1
        raise SettingsError(
            f"the block that begins with record {first} cannot be embedded: {problem}"
        )


class FeatureWorker(FrameWorker):
    """Embeds the frames of blocks; the values are [DNA, protein]. A `BlockWorker`."""

    values = "features"

    @property
    def _width(self) -> int:
        config = self._model.config
        return config.protein.width + (0 if config.dna is None else config.dna.width)

    def _compute(
        self, model: FrameClassifier, protein: Tokens, dna: Tokens, clock: StageClock
    ) -> Tensor:
        protein_SD, dna_SD = self._embed(model, protein, dna, clock)
        with clock.timed("DNA encoder"):  # the clock then waits for the copy of a GPU, too
            return to_host(torch.cat([dna_SD, protein_SD], dim=1))

    def finish(self, pending: Pending) -> tuple[int, bytes]:
        """Wait for the features of a block and put them into a shard."""
        features_SF = self.collect(pending)
        prepared = pending.prepared
        return prepared.block.index, FeatureShard(_places(prepared), features_SF).encode()


def _places(prepared: Prepared) -> NDArray[np.int64]:
    """Return `frame_S6` of a block."""
    block, chunks, frames = prepared.block, prepared.chunks, prepared.frames
    chunk, frame = frames.chunk, frames.frame.astype(np.int64)
    start, end = codon_span(
        frame, frames.first_codon, frames.codons, chunks.start[chunk], chunks.end[chunk]
    )
    residues = np.diff(frames.protein_offsets)
    records = np.array([piece.record for piece in block.pieces], dtype=np.int64)
    record, number = records[chunks.record[chunk]], chunks.number[chunk] - 1
    return np.column_stack([record, number, start, end, frame, residues])
