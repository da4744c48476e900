"""Preparing on the host beside the device."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")
_AHEAD = 2


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items that a thread makes up to two ahead; what it raises is raised here."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        line = deque(pool.submit(next, source, end) for _ in range(_AHEAD))
        while (item := line.popleft().result()) is not end:
            line.append(pool.submit(next, source, end))
            yield cast("Item", item)
