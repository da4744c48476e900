"""The local executor: one device of this machine, its host work in a thread beside it."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from virnucpro.engine.blocks import Block
from virnucpro.engine.shards import Shard, ShardStore
from virnucpro.engine.worker import Pending, Prepared, Scored, Work, Worker
from virnucpro.errors import RunError

#: Seconds that a stop waits for the host thread, which may hang on a silent pipe.
_PATIENCE = 2.0
#: Blocks prepared ahead of the device.
_AHEAD = 2


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        records: records done, those of earlier attempts included.
        resumed_records: of these, done by earlier attempts.
        bytes_read: bytes of the input behind the last block done.
        resumed_bytes: bytes of the input behind the last block that an earlier attempt did.
        work: what this process has done.
    """

    records: int
    resumed_records: int
    bytes_read: int
    resumed_bytes: int
    work: Work


@dataclass
class _Item:
    """What the host thread hands over: a block done before, or one prepared."""

    block: Block
    digest: bytes
    prepared: Prepared | None


@dataclass
class LocalExecutor:
    """Scores blocks on one device, skipping those that have a shard.

    Args:
        worker: prepares and scores blocks.
        store: where the shards go.
        shard_of: turns a scored block into its shard.
        on_progress: called after every block.
    """

    worker: Worker
    store: ShardStore
    shard_of: Callable[[Scored], Shard]
    on_progress: Callable[[Progress], None]
    _ready: "queue.Queue[_Item | BaseException | None]" = field(
        default_factory=lambda: queue.Queue(maxsize=_AHEAD), init=False
    )
    _done: Progress = field(init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)

    def run(self, blocks: Iterable[Block]) -> list[bytes]:
        """Make sure that every block has its shard.

        Returns:
            the digest of each block's records, in order.

        Raises:
            RunError: when a shard of an earlier attempt is of other records.
        """
        host = threading.Thread(target=self._prepare_all, args=(blocks,), daemon=True)
        host.start()
        try:
            return self._score_all()
        finally:
            self._stopped.set()
            host.join(_PATIENCE)

    def _score_all(self) -> list[bytes]:
        """Score what the host thread hands over, keeping the device ahead of what is written."""
        self._done = Progress(0, 0, 0, 0, self.worker.work)
        digests: list[bytes] = []
        submitted: deque[tuple[_Item, Pending | None]] = deque()
        while (item := self._next(submitted)) is not None:
            digests.append(item.digest)
            pending = None if item.prepared is None else self.worker.submit(item.prepared)
            submitted.append((item, pending))
            while len(submitted) > self.worker.ahead:
                self._finish(*submitted.popleft())
        return digests

    def _next(self, submitted: "deque[tuple[_Item, Pending | None]]") -> _Item | None:
        """Return the next block; while none is ready, finish those submitted."""
        while submitted and self._ready.empty():
            self._finish(*submitted.popleft())
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            while submitted:
                self._finish(*submitted.popleft())
        return item

    def _finish(self, item: _Item, pending: Pending | None) -> None:
        """Write a block's shard, unless an earlier attempt did, and tell how far the run is."""
        block, done, work = item.block, self._done, self.worker.work
        records = sum(piece.first_chunk == 0 for piece in block.pieces)
        resumed, resumed_bytes = done.resumed_records, done.resumed_bytes
        if pending is None:
            resumed, resumed_bytes = resumed + records, block.bytes_read
        else:
            scored = self.worker.collect(pending)
            with work.timed("shards"):
                self.store.write(block.index, item.digest, self.shard_of(scored))
        self._done = Progress(
            done.records + records, resumed, block.bytes_read, resumed_bytes, work
        )
        self.on_progress(self._done)

    def _prepare_all(self, blocks: Iterable[Block]) -> None:
        """Read, prepare and queue every block; runs in the host thread."""
        try:
            stream = iter(blocks)
            while not self._stopped.is_set():
                with self.worker.work.timed("reading"):
                    block = next(stream, None)
                if block is None:
                    break
                self._hand_over(self._item(block))
            self._hand_over(None)
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            self._hand_over(error)

    def _item(self, block: Block) -> _Item:
        digest = block.digest()
        found = self.store.read(block.index)
        if found is None:
            return _Item(block, digest, self.worker.prepare(block))
        if found[0] != digest:
            first = block.pieces[0].record + 1
            raise RunError(
                f"{self.store.directory}: the input has changed since this run was started "
                f"(from record {first} on); give a new directory"
            )
        return _Item(block, digest, None)

    def _hand_over(self, item: _Item | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
