"""The task of `predict`: the scores of a bundle for open frames."""

from dataclasses import dataclass

from virnucpro.classify import CALL_NAMES
from virnucpro.classify.bundle_task import BundleTask
from virnucpro.classify.consensus import VIRUS
from virnucpro.prediction.shard import encode_shard, unscored_shard
from virnucpro.prediction.worker import Worker
from virnucpro.runs.devices import Budgets, Device
from virnucpro.sequences.blocks import Block


@dataclass(frozen=True)
class Prediction(BundleTask):
    """A `Task` whose shards hold scores.

    Attributes:
        letters_above: in shards, a record is a virus if its p_virus is above this (default: the
            threshold of the bundle).
        kept: calls of the records whose letters shards keep.
    """

    letters_above: float | None = None
    kept: tuple[str, ...] = (CALL_NAMES[VIRUS],)

    def worker(self, device: Device, budgets: Budgets) -> Worker:
        """Load the networks of the bundle."""
        return Worker(
            self.load(is_checked=True),
            device,
            self.chunk_length,
            budgets,
            frames=self.frames,
            letters_above=self.letters_above,
            kept=self.kept,
        )

    def unscored(self, block: Block, problem: str) -> bytes:
        """Return a shard without scores."""
        return encode_shard(unscored_shard(block, self.chunk_length, problem, self.kept))
