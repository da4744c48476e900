"""What the GPUs of this machine do while a run goes, through nvitop; nothing without them."""

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

_EVERY_SECONDS = 1.0


class Reading(NamedTuple):
    """What a GPU said at one moment; NaN for what it does not say.

    Attributes:
        utilisation: share of the time that it was computing, percent.
        memory: bytes in use, by anyone.
        power: watts.
        temperature: degrees Celsius.
    """

    utilisation: float
    memory: float
    power: float
    temperature: float


class Spread(msgspec.Struct, frozen=True):
    """Mean and percentiles of what was read, once a second."""

    mean: float
    p5: float
    p50: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Summarise values; None when there are none."""
        known = np.array([value for value in values if not math.isnan(value)])
        if not len(known):
            return None
        return cls(
            *(round(float(x), 2) for x in (known.mean(), *np.percentile(known, (5, 50, 95))))
        )


class DeviceUse(msgspec.Struct, frozen=True):
    """What a device did in a run; without readings where it is no GPU of this machine.

    Attributes:
        name: of the device.
        frames: frames it scored.
        frames_per_second: of the time from the first worker that was ready to the last block.
        workers_died: workers on it that had to be replaced.
        utilisation: percent.
        memory_gib: GiB in use, by anyone.
        power_watts: of the whole board.
        temperature_celsius: of the chip.
        joules_per_million_frames: mean power times that time, over the frames.
    """

    name: str
    frames: int
    frames_per_second: float
    workers_died: int
    utilisation: Spread | None = None
    memory_gib: Spread | None = None
    power_watts: Spread | None = None
    temperature_celsius: Spread | None = None
    joules_per_million_frames: float | None = None


def use_of(
    name: str, frames: int, workers_died: int, seconds: float, readings: Sequence[Reading]
) -> DeviceUse:
    """Put together what a device did in `seconds`."""
    utilisation, memory, power, temperature = zip(*readings, strict=True) if readings else [()] * 4
    watts = Spread.of(power)
    return DeviceUse(
        name,
        frames,
        round(frames / seconds, 1),
        workers_died,
        Spread.of(utilisation),
        Spread.of([value / 2**30 for value in memory]),
        watts,
        Spread.of(temperature),
        round(watts.mean * seconds / frames * 1e6, 1) if watts and frames else None,
    )


@dataclass
class Monitor:
    """Reads the GPUs among some devices once a second, in a thread, until it is stopped.

    Args:
        names: of the devices; those that are not `cuda:N` are not read.

    Attributes:
        readings: of each GPU, in order of time.
    """

    names: Sequence[str]
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to read."""
        gpus = {name: int(name[5:]) for name in self.names if name.startswith("cuda:")}
        if gpus:
            threading.Thread(target=self._read_all, args=(gpus,), daemon=True).start()

    def stop(self) -> None:
        """Read no more."""
        self._stopped.set()

    def latest(self) -> dict[str, Reading]:
        """Return the last reading of each GPU."""
        return {name: readings[-1] for name, readings in self.readings.items() if readings}

    def _read_all(self, gpus: dict[str, int]) -> None:
        with suppress(Exception):  # a driver's trouble must not be the run's
            from nvitop import CudaDevice  # noqa: PLC0415 (complains where there is no driver)

            devices = {name: CudaDevice(index) for name, index in gpus.items()}
            self.readings = {name: [] for name in devices}
            while not self._stopped.wait(_EVERY_SECONDS):
                for name, device in devices.items():
                    self.readings[name].append(_read(device))


def _read(device: Any) -> Reading:  # noqa: ANN401 (nvitop's, which is an extra weight to import)
    milliwatts = _number(device.power_usage)
    return Reading(
        _number(device.gpu_utilization),
        _number(device.memory_used),
        milliwatts / 1000,
        _number(device.temperature),
    )


def _number(ask: Callable[[], object]) -> float:
    """Return what a GPU says, NaN where it does not."""
    value = ask()
    return float(value) if isinstance(value, int | float) else float("nan")
