"""Hands blocks to workers: the next one to whichever is free, and again if its worker died."""

import threading
from collections import deque
from collections.abc import Iterator

from virnucpro.sequences.blocks import Block

#: Number of workers that must die with only this block in flight before the block is failed.
_DEATHS = 2


class BlockQueue:
    """The blocks that wait for a worker. Every method may be called from any thread.

    The blocks of a worker that dies become suspects. Each suspect is next given to a worker that
    has no other block, so that another death identifies the block that kills.

    Args:
        blocks: the blocks to hand out, cut from the input on demand; None if no block is available
            yet.
    """

    def __init__(self, blocks: Iterator[Block | None]) -> None:
        self._blocks = blocks
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._suspects: deque[Block] = deque()
        self._deaths: dict[int, int] = {}
        self._in_flight = 0
        self._all_read = False
        self._is_stopped = False

    def take(self, *, has_others: bool) -> Block | None:
        """Return the next block, or None if no block is available yet; poll again.

        Args:
            has_others: whether the worker still has blocks in flight. It then does not wait for
                input.
        """
        with self._lock:
            if self._is_stopped:
                return None
            if self._suspects and not has_others:
                self._in_flight += 1
                return self._suspects.popleft()
        if not self._reading.acquire(blocking=not has_others):
            return None
        try:
            return self._read()
        finally:
            self._reading.release()

    def _read(self) -> Block | None:
        """Read the next block, which may block on a silent pipe."""
        if self._all_read or self._is_stopped:
            return None
        try:
            block = next(self._blocks)
        except StopIteration:
            self._all_read = True
            return None
        if block is not None:
            with self._lock:
                self._in_flight += 1
        return block

    def is_suspect(self, block: Block) -> bool:
        """Whether a worker died with this block, which must therefore be in flight alone."""
        return block.index in self._deaths

    def finish(self) -> None:
        """Count a block as finished."""
        with self._lock:
            self._in_flight -= 1

    def requeue(self, blocks: list[Block]) -> list[Block]:
        """Take back the blocks that were in flight on a worker that died.

        Returns:
            the blocks that have killed too many workers and must be marked as failed.
        """
        failed: list[Block] = []
        with self._lock:
            for block in blocks:
                self._in_flight -= 1
                deaths = self._deaths[block.index] = self._deaths.get(block.index, 0) + 1
                (failed if deaths >= _DEATHS else self._suspects).append(block)
        return failed

    def stop(self) -> None:
        """Hand out no more blocks."""
        with self._lock:
            self._is_stopped = True

    @property
    def is_over(self) -> bool:
        """Whether no block will be handed out again."""
        with self._lock:
            is_empty = self._all_read and not self._suspects and not self._in_flight
            return is_empty or self._is_stopped
