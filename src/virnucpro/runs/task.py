"""What a run computes, as the engine and its executors see it; they know nothing of biology."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from virnucpro.runs.devices import Budgets, Device, Settled
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.fragments import Source


class BlockWorker(Protocol):
    """Turns blocks into shards on one device; each stage is called by a thread of its own."""

    work: Work

    @property
    def ways(self) -> list[str]:
        """How the networks are computed, a line each."""

    @property
    def notes(self) -> list[str]:
        """The same with reasons."""

    def prepare(self, block: Block) -> Any:  # noqa: ANN401 (its own)
        """Do what needs no device."""

    def submit(self, prepared: Any) -> Any:  # noqa: ANN401
        """Start to compute what `prepare` gave; a GPU goes on by itself."""

    def finish(self, pending: Any) -> tuple[int, bytes]:  # noqa: ANN401
        """Wait for what `submit` gave; return the block's index and the content of its shard."""


class Task(Protocol):
    """What every worker of a run must know; it is sent to where they are."""

    def cut(self, inputs: Sequence[Source]) -> Iterator[Block]:
        """Cut the input into blocks."""

    def settle(self, device: str, *, is_checked: bool) -> Settled:
        """Choose precision and budgets, before anything is loaded.

        Args:
            device: its name.
            is_checked: whether the digests of the weights were compared on this machine already.
        """

    def worker(self, device: Device, budgets: Budgets) -> BlockWorker:
        """Load the networks."""

    def unscored(self, block: Block, problem: str) -> bytes:
        """Return a shard that says of each record of a block why it has no result."""


class Result(NamedTuple):
    """What a worker gives back.

    Attributes:
        block: its index.
        shard: content of its shard.
        work: what the worker has done so far, this block included.
    """

    block: int
    shard: bytes
    work: Work
