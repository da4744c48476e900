"""The task of extracting what a head is trained on: the embeddings of every frame."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.classify import FrameClassifier
from virnucpro.encoders.packing import to_host
from virnucpro.errors import SettingsError
from virnucpro.prediction.task import Prediction
from virnucpro.prediction.worker import Prepared, Worker
from virnucpro.runs.clock import StageClock
from virnucpro.runs.devices import Budgets, Device
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.frames import codon_span


class FeatureShard(NamedTuple):
    """The frames of a block.

    Attributes:
        frame_S6: number of the record and of its chunk, both from 0, start and end of the bases
            that the codons cover on the record's forward strand, index of the frame, and
            residues, int64.
        features_SF: what the head takes, [DNA, protein], fp32.
    """

    frame_S6: NDArray[np.int64]
    features_SF: NDArray[np.float32]

    def encode(self) -> bytes:
        """Return the shard as a safetensors file."""
        return safetensors.numpy.save(self._asdict())

    @classmethod
    def decode(cls, content: bytes) -> "FeatureShard":
        """Return what was encoded."""
        return cls(**safetensors.numpy.load(content))


class PendingFeatures(NamedTuple):
    """A block that its device may still be computing.

    Attributes:
        prepared: what is being embedded.
        features_SF: where the features will be, on the host.
        clock: of the device's stages.
    """

    prepared: Prepared
    features_SF: Tensor
    clock: StageClock


@dataclass(frozen=True)
class Features(Prediction):
    """A `Task` as `Prediction`, whose shards hold features."""

    def worker(self, device: Device, budgets: Budgets) -> "FeatureWorker":
        """Load the bundle's networks."""
        bundle = self._bundle(is_checked=True)
        return FeatureWorker(bundle, device, self.chunk_length, budgets, frames=self.frames)

    def unscored(self, block: Block, problem: str) -> bytes:
        """Refuse: features of records that cannot be computed would be missing unnoticed."""
        first = block.pieces[0].record + 1
        raise SettingsError(f"the block from record {first} on cannot be embedded: {problem}")


class FeatureWorker(Worker):
    """Embeds the frames of blocks; a `BlockWorker`."""

    @torch.inference_mode()
    def submit(self, prepared: Prepared) -> PendingFeatures:  # type: ignore[override]
        """Start to embed a prepared block; a GPU goes on by itself."""
        clock = StageClock(self._device.device)
        return PendingFeatures(prepared, self._features(self._model, prepared, clock), clock)

    def finish(self, pending: PendingFeatures) -> tuple[int, bytes]:  # type: ignore[override]
        """Wait for a block's features and put them into a shard.

        Raises:
            SettingsError: when they are not finite in fp32 either.
        """
        prepared, features, clock = pending
        for stage, seconds in clock.wait().items():
            self.work.add(stage, seconds)
        features_SF = features.numpy()
        faulty = np.flatnonzero(~np.isfinite(features_SF).all(axis=1))
        if len(faulty):
            features_SF[faulty] = self._exactly(prepared, faulty)
        self._count(prepared)
        return prepared.block.index, FeatureShard(_places(prepared), features_SF).encode()

    def _features(self, model: FrameClassifier, prepared: Prepared, clock: StageClock) -> Tensor:
        budgets, cut = self._budgets, self._count_cut
        with clock.timed("protein encoder"):
            protein_SD = model.embed_proteins(prepared.protein, budgets.protein, cut)
        with clock.timed("DNA encoder"):
            dna_SD = model.embed_dna(prepared.dna, budgets.dna, cut)
        return to_host(torch.cat([dna_SD, protein_SD], dim=1))

    @torch.inference_mode()
    def _exactly(self, prepared: Prepared, faulty: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of some frames of a block in fp32."""
        self.work.frames_redone += len(faulty)
        exact = self._exact_model()
        few = prepared._replace(
            protein=prepared.protein.choose(faulty), dna=prepared.dna.choose(faulty)
        )
        clock = StageClock(exact.device)
        features = self._features(exact, few, clock)
        clock.wait()
        if not bool(features.isfinite().all()):
            first = prepared.block.pieces[0].record + 1
            raise SettingsError(
                f"features of the block from record {first} on are not finite in fp32; "
                "the encoders' weights must be wrong, get them anew"
            )
        return features.numpy()


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
