"""Reads the use of the GPUs of this machine during a run, through nvitop."""

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
    """One reading of a GPU; NaN for a value that it does not report.

    Attributes:
        utilisation: share of the time in which it computed, in percent.
        memory: bytes in use by all processes.
        power: power in watts.
        temperature: temperature in degrees Celsius.
    """

    utilisation: float
    memory: float
    power: float
    temperature: float


class Spread(msgspec.Struct, frozen=True):
    """Mean and percentiles of readings taken once a second."""

    mean: float
    p5: float
    p50: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Summarise values; return None if there are none."""
        known = np.array([value for value in values if not math.isnan(value)])
        if not len(known):
            return None
        return cls(
            *(round(float(x), 2) for x in (known.mean(), *np.percentile(known, (5, 50, 95))))
        )


class DeviceUse(msgspec.Struct, frozen=True):
    """What a device did in a run; it has readings only if it is a GPU of this machine.

    Attributes:
        name: name of the device.
        frames: number of frames that it scored.
        frames_per_second: rate from the moment the first worker was ready until the last block.
        workers_died: number of its workers that had to be replaced.
        utilisation: share of the time in which it computed, in percent.
        memory_gib: GiB in use by all processes.
        power_watts: power of the whole board.
        temperature_celsius: temperature of the chip.
        joules_per_million_frames: mean power times the same time, divided by the frames.
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
    """Return what a device did in `seconds`."""
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
    """Reads GPUs once a second in a thread until it is stopped.

    Args:
        names: names of the devices; only those of the form `cuda:N` are read.

    Attributes:
        readings: the readings of each GPU in order of time.
    """

    names: Sequence[str]
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start reading."""
        gpus = {name: int(name[5:]) for name in self.names if name.startswith("cuda:")}
        if gpus:
            threading.Thread(target=self._read_all, args=(gpus,), daemon=True).start()

    def stop(self) -> None:
        """Stop reading."""
        self._stopped.set()

    def latest(self) -> dict[str, Reading]:
        """Return the latest reading of each GPU."""
        return {name: readings[-1] for name, readings in self.readings.items() if readings}

    def _read_all(self, gpus: dict[str, int]) -> None:
        with suppress(Exception):  # a fault of the driver must not stop the run
            from nvitop import CudaDevice  # noqa: PLC0415 (warns if there is no driver)

            devices = {name: CudaDevice(index) for name, index in gpus.items()}
            self.readings = {name: [] for name in devices}
            while not self._stopped.wait(_EVERY_SECONDS):
                for name, device in devices.items():
                    self.readings[name].append(_read(device))


def _read(device: Any) -> Reading:  # noqa: ANN401 (a type of nvitop, which is slow to import)
    milliwatts = _number(device.power_usage)
    return Reading(
        _number(device.gpu_utilization),
        _number(device.memory_used),
        milliwatts / 1000,
        _number(device.temperature),
    )


def _number(ask: Callable[[], object]) -> float:
    """Return a reading of a GPU, or NaN if it does not report it."""
    value = ask()
    return float(value) if isinstance(value, int | float) else float("nan")
