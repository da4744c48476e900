"""Text in shards: the ids of records, and what is wrong with them, one line each."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

#: Number of records that cannot be processed that a summary lists; it counts all of them.
PROBLEMS_LISTED = 1000


def text_array(content: bytes) -> NDArray[np.uint8]:
    """Return text as a shard stores it."""
    return np.frombuffer(content, dtype=np.uint8)


def lines_array(lines: Iterable[str]) -> NDArray[np.uint8]:
    """Return lines as a shard stores them."""
    return text_array("\n".join(lines).encode())


def lines_of(text: NDArray[np.uint8]) -> list[str]:
    """Return the lines of a shard's text."""
    return text.tobytes().decode().split("\n")
