"""Time variants alternately, because a GPU slows down as it warms up."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

_ROUNDS = 3


def in_turn(
    variants: Mapping[str, Callable[[], object]], seconds: float, device: torch.device
) -> dict[str, float]:
    """Time each variant repeatedly, one after the other, in several rounds.

    Args:
        variants: functions that compute on `device`, by name.
        seconds: total time for each variant.
        device: device to wait for before the clock is read.

    Returns:
        the median seconds of one call of each variant, by name.
    """
    for run in variants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(_ROUNDS):
        for name, run in variants.items():
            times[name].append(_seconds_a_call(run, seconds / _ROUNDS, device))
    return {name: median(found) for name, found in times.items()}


def _seconds_a_call(run: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Call until the time is over; wait for a GPU only after batches of calls, to keep it busy."""
    wait_for(device)
    started = time.perf_counter()
    calls, batch = 0, 1
    while True:
        for _ in range(batch):
            run()
        wait_for(device)
        calls += batch
        passed = time.perf_counter() - started
        if passed >= seconds:
            return passed / calls
        batch = max(1, min(4 * batch, int(calls * (seconds - passed) / passed)))


def wait_for(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
