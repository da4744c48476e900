"""What a device does with a block of `predict`: it scores the open frames and makes a shard."""

from virnucpro.bundles import Bundle
from virnucpro.classify import CALL_NAMES, FrameClassifier
from virnucpro.classify.consensus import VIRUS
from virnucpro.classify.frame_worker import FrameScorer, Pending
from virnucpro.prediction.shard import Kept, encode_shard, make_shard
from virnucpro.runs.devices import Budgets, Device
from virnucpro.sequences.frames import FrameKind


class Worker(FrameScorer):
    """Scores blocks with one bundle on one device; a `BlockWorker`.

    Args:
        bundle: as in `FrameWorker`, like all arguments up to `frames`.
        device: the device and its precision.
        chunk_length: bases of a chunk.
        budgets: largest number of tokens of a forward pass (default: what fits this device).
        model: the network of the bundle, if it is already loaded.
        frames: which frames to use (default: as the bundle says).
        letters_above: in shards, a record is a virus if its p_virus is above this (default: the
            threshold of the bundle).
        kept: calls of the records whose letters shards keep.
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
        super().__init__(bundle, device, chunk_length, budgets, model, frames)
        threshold = bundle.manifest.thresholds.virus
        self._kept = Kept(kept, threshold if letters_above is None else letters_above)

    def finish(self, pending: Pending) -> tuple[int, bytes]:
        """Wait for the scores of a block and put them into a shard."""
        scores_S2 = self.collect(pending)
        block, chunks, frames, *_ = pending.prepared
        with self.work.timed("shards"):
            shard = make_shard(block, chunks, frames, scores_S2, self._chunk_length, self._kept)
            return block.index, encode_shard(shard)
