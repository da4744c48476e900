"""A second computation in fp32 for results that are not finite in another precision."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

NetworkT = TypeVar("NetworkT")
ResultT = TypeVar("ResultT")


class InFp32(Generic[NetworkT]):
    """A network in fp32, loaded when it is first needed.

    Args:
        load: loads the network in fp32 onto a device.
        device: device to compute on; the CPU takes over if its memory does not suffice.
    """

    def __init__(self, load: Callable[[torch.device], NetworkT], device: torch.device) -> None:
        self._load = load
        self._devices = [device, torch.device("cpu")]
        self._network: NetworkT | None = None

    def compute(self, task: Callable[[NetworkT], ResultT]) -> ResultT:
        """Return the result of `task` for the network.

        Raises:
            torch.OutOfMemoryError: the memory of no device suffices.
        """
        while True:
            try:
                if self._network is None:
                    self._network = self._load(self._devices[0])
                return task(self._network)
            except torch.OutOfMemoryError:
                self._network = None
                if len(self._devices) == 1:
                    raise
                del self._devices[0]
