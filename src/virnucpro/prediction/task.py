"""The task of `predict`: a bundle's scores of open frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from virnucpro.bundles import Bundle, load_bundle
from virnucpro.classify import CALL_NAMES
from virnucpro.classify.consensus import VIRUS
from virnucpro.classify.settle import settle_bundle
from virnucpro.errors import BundleError
from virnucpro.prediction.shard import encode_shard, unscored_shard
from virnucpro.prediction.worker import Worker
from virnucpro.runs.devices import Budgets, Device, Settled
from virnucpro.sequences.blocks import Block, cut_blocks
from virnucpro.sequences.fragments import PLAIN, ReadOptions, Source
from virnucpro.sequences.frames import FrameKind


@dataclass(frozen=True)
class Prediction:
    """A `Task`.

    Attributes:
        bundle: name of an embedded bundle, or a bundle's directory.
        bundle_sha256: digest of its manifest.
        chunk_length: bases of a chunk.
        frames: how frames are drawn.
        block_chunks: most chunks of a block.
        precision: what the user asked for.
        letters_above: for shards a record is virus whose p_virus is above; by default above the
            bundle's threshold.
        kept: calls of the records whose letters shards keep.
        options: how inputs are read; with `fastq` shards keep qualities too.
    """

    bundle: str
    bundle_sha256: str
    chunk_length: int
    frames: FrameKind
    block_chunks: int
    precision: str
    letters_above: float | None = None
    kept: tuple[str, ...] = (CALL_NAMES[VIRUS],)
    options: ReadOptions = PLAIN

    def cut(self, inputs: Sequence[Source]) -> Iterator[Block]:
        """Cut records into chunks, and these into blocks."""
        return cut_blocks(inputs, self.chunk_length, self.block_chunks, self.options)

    def settle(self, device: str, *, is_checked: bool) -> Settled:
        """Choose what fits the bundle."""
        return settle_bundle(device, self.precision, self._bundle(is_checked=is_checked))

    def worker(self, device: Device, budgets: Budgets) -> Worker:
        """Load the bundle's networks."""
        bundle = self._bundle(is_checked=True)
        return Worker(
            bundle,
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

    def _bundle(self, *, is_checked: bool) -> Bundle:
        bundle = load_bundle(self.bundle, is_checked=is_checked)
        if bundle.sha256 != self.bundle_sha256:
            raise BundleError(f"{bundle.path}: is not the bundle that the run was given")
        return bundle
