"""Preparing on the host beside the device."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_AHEAD = 2


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items that a thread makes up to two ahead."""
    line: queue.Queue[Item | None] = queue.Queue(_AHEAD)

    def make() -> None:
        for item in items:
            line.put(item)
        line.put(None)

    threading.Thread(target=make, daemon=True).start()
    while (item := line.get()) is not None:
        yield item
