"""Who computes which block: the next one to whoever is free, again if its worker died."""

import threading
from collections import deque
from collections.abc import Iterator

from virnucpro.sequences.blocks import Block

#: Workers that die with a block and nothing else in hand before it is set aside.
_DEATHS = 2


class Handout:
    """Blocks that wait for a worker; every method may be called from any thread.

    A worker that dies leaves its blocks under suspicion. Each of those is handed out again to a
    worker that has nothing else, so that its next death names the block.

    Args:
        blocks: what to hand out, cut as it is asked for; None where there is none for now.
    """

    def __init__(self, blocks: Iterator[Block | None]) -> None:
        self._blocks = blocks
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._suspects: deque[Block] = deque()
        self._deaths: dict[int, int] = {}
        self._in_hand = 0
        self._all_read = False
        self._is_stopped = False

    def take(self, *, has_others: bool) -> Block | None:
        """Return a block to compute, None when there is none for now.

        Args:
            has_others: whether the worker has blocks in hand; it does not wait for input then.
        """
        with self._lock:
            if self._is_stopped:
                return None
            if self._suspects and not has_others:
                self._in_hand += 1
                return self._suspects.popleft()
        if not self._reading.acquire(blocking=not has_others):
            return None
        try:
            return self._read()
        finally:
            self._reading.release()

    def _read(self) -> Block | None:
        """Read the next block, which may take as long as a pipe is silent."""
        if self._all_read or self._is_stopped:
            return None
        try:
            block = next(self._blocks)
        except StopIteration:
            self._all_read = True
            return None
        if block is not None:
            with self._lock:
                self._in_hand += 1
        return block

    def is_suspect(self, block: Block) -> bool:
        """Whether a worker died with it, so that it must be alone in hand."""
        return block.index in self._deaths

    def finish(self) -> None:
        """Take note that a block is done with."""
        with self._lock:
            self._in_hand -= 1

    def give_back(self, blocks: list[Block]) -> list[Block]:
        """Take back what a worker that died had in hand.

        Returns:
            those that are to be set aside.
        """
        set_aside: list[Block] = []
        with self._lock:
            for block in blocks:
                self._in_hand -= 1
                deaths = self._deaths[block.index] = self._deaths.get(block.index, 0) + 1
                (set_aside if deaths >= _DEATHS else self._suspects).append(block)
        return set_aside

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._lock:
            self._is_stopped = True

    @property
    def is_over(self) -> bool:
        """Whether nothing will be handed out any more."""
        with self._lock:
            is_empty = self._all_read and not self._suspects and not self._in_hand
            return is_empty or self._is_stopped
