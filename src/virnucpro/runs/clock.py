"""Times the stages of a block on a device without waiting for the device between them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageClock:
    """Times stages on one device; the times of a GPU are read once it has finished them.

    Args:
        device: the device that runs the stages.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time the body, or on a GPU the work that it queues."""
        if not self._is_gpu:
            started = time.perf_counter()
            yield
            self._add(stage, time.perf_counter() - started)
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        yield
        end.record()
        self._events.append((stage, begin, end))

    def wait(self) -> dict[str, float]:
        """Wait until all stages are done.

        Returns:
            the seconds of each stage.
        """
        for stage, begin, end in self._events:
            end.synchronize()
            self._add(stage, begin.elapsed_time(end) / 1000)
        self._events.clear()
        return self._seconds

    def _add(self, stage: str, seconds: float) -> None:
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
