"""What all workers that compute with networks on one device share."""

import threading
from collections.abc import Callable
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.errors import SettingsError
from virnucpro.runs.clock import StageClock
from virnucpro.runs.devices import Device, ready_process
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block


class _OnDevice(Protocol):
    @property
    def device(self) -> torch.device:
        """Device that holds the weights."""


NetworkT = TypeVar("NetworkT", bound=_OnDevice)


class NetworkWorker(Generic[NetworkT]):
    """Counts what a worker does, and recomputes in fp32 the values that are not finite.

    Args:
        device: the device and its precision.
        load_fp32: loads the network in fp32 onto a device; called when it is first needed. The CPU
            takes over if the memory of the device does not suffice.

    Attributes:
        values: what the computed values are called in messages.
        remedy: what to do if the values are not finite in fp32 either.
        work: what the worker has done so far.
        notes: how the network is computed and why it cannot be faster, one line each.
    """

    values: ClassVar[str]
    remedy: ClassVar[str]
    notes: list[str]

    def __init__(self, device: Device, load_fp32: Callable[[torch.device], NetworkT]) -> None:
        ready_process(device.device)
        self._device = device
        self.work = Work()
        self._count_lock = threading.Lock()
        self._load_fp32 = load_fp32
        self._fp32_devices = [device.device, torch.device("cpu")]
        self._fp32_network: NetworkT | None = None

    @property
    def backends(self) -> list[str]:
        """How the network is computed, without the reasons."""
        return [note.partition(";")[0] for note in self.notes]

    def _count_cut(self) -> None:
        """Count a pack that did not fit into memory; called by several threads on a CPU."""
        with self._count_lock:
            self.work.packs_cut += 1

    @torch.inference_mode()
    def _recompute(
        self, block: Block, count: int, compute: Callable[[NetworkT, StageClock], Tensor]
    ) -> NDArray[np.floating]:
        """Return values that are computed in fp32.

        Args:
            block: the block that they belong to.
            count: number of items that are recomputed.
            compute: returns the values on the host, computed by a network; times its stages.

        Raises:
            SettingsError: the values are not finite in fp32 either.
            torch.OutOfMemoryError: the memory of no device suffices.
        """
        self.work.frames_redone += count
        values, seconds = self._in_fp32(compute)
        self.work.add("again in fp32", seconds)
        if not values.isfinite().all():
            first = block.pieces[0].record + 1
            raise SettingsError(
                f"the {self.values} of the block that begins with record {first} are not finite "
                f"in fp32; {self.remedy}"
            )
        return values.numpy()

    def _in_fp32(self, compute: Callable[[NetworkT, StageClock], Tensor]) -> tuple[Tensor, float]:
        """Return the result of `compute` for the network in fp32, and its time."""
        while True:
            try:
                if self._fp32_network is None:
                    self._fp32_network = self._load_fp32(self._fp32_devices[0])
                clock = StageClock(self._fp32_network.device)
                values = compute(self._fp32_network, clock)
                return values, sum(clock.wait().values())
            except torch.OutOfMemoryError:
                self._fp32_network = None
                if len(self._fp32_devices) == 1:
                    raise
                del self._fp32_devices[0]
