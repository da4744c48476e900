"""The common part of tasks that run the networks of a bundle on the open frames of the input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.settle import settle
from virnucpro.errors import BundleError
from virnucpro.runs.devices import Settled
from virnucpro.sequences.blocks import Block, cut_blocks
from virnucpro.sequences.fragments import PLAIN, ReadOptions, Source
from virnucpro.sequences.frames import FrameKind


@dataclass(frozen=True)
class BundleTask:
    """The part of a `Task` that does not depend on what is computed for each frame.

    Attributes:
        bundle: name of an embedded bundle, or directory of a bundle.
        bundle_sha256: digest of the bundle's manifest.
        chunk_length: bases of a chunk.
        frames: which frames to use.
        block_chunks: largest number of chunks of a block.
        precision: requested precision.
        options: how the inputs are read; with `fastq` blocks keep qualities.
    """

    bundle: str
    bundle_sha256: str
    chunk_length: int
    frames: FrameKind
    block_chunks: int
    precision: str
    options: ReadOptions = PLAIN

    def cut(self, inputs: Sequence[Source]) -> Iterator[Block]:
        """Cut records into chunks and group the chunks into blocks."""
        return cut_blocks(inputs, self.chunk_length, self.block_chunks, self.options)

    def settle(self, device: str, *, is_checked: bool) -> Settled:
        """Choose the precision and budgets that fit the bundle."""
        return settle(device, self.precision, self.load(is_checked=is_checked))

    def load(self, *, is_checked: bool) -> Bundle:
        """Open the bundle.

        Args:
            is_checked: whether the digests of its files have been verified on this machine.

        Raises:
            BundleError: the bundle differs from the one that the run started with.
        """
        bundle = load_bundle(self.bundle, is_checked=is_checked)
        if bundle.sha256 != self.bundle_sha256:
            raise BundleError(f"{bundle.path}: differs from the bundle that the run started with")
        return bundle
