"""Tasks: what a run computes, seen by code that knows no biology."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from virnucpro.runs.devices import Budgets, Device, Settled
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block
from virnucpro.sequences.fragments import Source


class BlockWorker(Protocol):
    """Turns blocks into shards on one device. Each stage is called by its own thread."""

    work: Work

    @property
    def backends(self) -> list[str]:
        """How the networks are computed, one line each."""

    @property
    def notes(self) -> list[str]:
        """The same with reasons."""

    def prepare(self, block: Block) -> Any:  # noqa: ANN401 (its own type)
        """Do what needs no device."""

    def submit(self, prepared: Any) -> Any:  # noqa: ANN401
        """Start to compute the result of `prepare`; a GPU continues asynchronously."""

    def finish(self, pending: Any) -> tuple[int, bytes]:  # noqa: ANN401
        """Wait for the result of `submit`; return the index of the block and its shard."""


class Task(Protocol):
    """Everything that a worker of a run needs to know; it is sent to each worker."""

    def cut(self, inputs: Sequence[Source]) -> Iterator[Block]:
        """Cut the input into blocks."""

    def settle(self, device: str, *, is_checked: bool) -> Settled:
        """Choose precision and budgets before anything is loaded.

        Args:
            device: name of the device.
            is_checked: whether the digests of the weights have been verified on this machine.
        """

    def worker(self, device: Device, budgets: Budgets) -> BlockWorker:
        """Load the networks."""

    def unscored(self, block: Block, problem: str) -> bytes:
        """Return a shard that says for each record of a block why it has no result."""


class Result(NamedTuple):
    """The result of a block.

    Attributes:
        block: index of the block.
        shard: content of the shard.
        work: what the worker has done so far, including this block.
    """

    block: int
    shard: bytes
    work: Work
