"""Times of variants in turn, since a GPU slows down as it gets warm."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

_ROUNDS = 3


def in_turn(
    variants: Mapping[str, Callable[[], object]], seconds: float, device: torch.device
) -> dict[str, float]:
    """Run each variant again and again, one after the other, in several rounds.

    Args:
        variants: each computes on `device`.
        seconds: for each variant in all.
        device: is waited for.

    Returns:
        median seconds of one call of each.
    """
    for run in variants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(_ROUNDS):
        for name, run in variants.items():
            times[name].append(_seconds_a_call(run, seconds / _ROUNDS, device))
    return {name: median(found) for name, found in times.items()}


def _seconds_a_call(run: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Call until the time is over; a GPU is kept busy and waited for now and then."""
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
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
