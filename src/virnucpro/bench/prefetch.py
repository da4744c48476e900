"""Prepare items on the host while the device computes."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")
_AHEAD = 2


def prefetch(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items that a thread makes up to two ahead, and raise the errors of that thread."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, source, end) for _ in range(_AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield cast("Item", item)
