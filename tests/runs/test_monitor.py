"""What is kept of the readings of GPUs."""

import time
from math import nan
from types import SimpleNamespace
from typing import Any

import pytest

from virnucpro.runs.monitor import Monitor, Reading, Spread, use_of


def test_readings_become_means_percentiles_and_energy() -> None:
    readings = [Reading(90.0 + i % 11, 2.0 * 2**30, 500.0, 60.0 + i % 11) for i in range(110)]
    use = use_of("cuda:0", 50_000, 1, 100.0, readings)
    assert use.utilisation == Spread(95.0, 90.0, 95.0, 100.0)
    assert use.memory_gib == Spread(2.0, 2.0, 2.0, 2.0)
    assert use.frames_per_second == 500.0
    assert use.joules_per_million_frames == 500.0 * 100.0 / 50_000 * 1e6
    assert use.workers_died == 1


def test_what_a_gpu_does_not_say_is_left_out() -> None:
    readings = [Reading(50.0, nan, nan, 40.0), Reading(nan, nan, nan, 42.0)]
    use = use_of("cuda:0", 10, 0, 1.0, readings)
    assert use.utilisation == Spread(50.0, 50.0, 50.0, 50.0)
    assert [use.power_watts, use.memory_gib, use.joules_per_million_frames] == [None] * 3
    assert use.temperature_celsius is not None
    assert use.temperature_celsius.mean == 41.0


def test_without_readings_frames_are_still_counted() -> None:
    use = use_of("cpu", 10, 0, 2.0, [])
    assert (use.frames_per_second, use.utilisation, use.power_watts) == (5.0, None, None)


def test_a_monitor_of_no_gpu_reads_nothing() -> None:
    monitor = Monitor(["cpu", "cpu"])
    monitor.start()
    assert monitor.latest() == {}
    monitor.stop()


def fake_gpu(index: int) -> Any:  # noqa: ANN401
    """Return what nvitop gives for a GPU that does not tell its power."""
    return SimpleNamespace(
        gpu_utilization=lambda: 97,
        memory_used=lambda: (index + 1) << 30,
        power_usage=lambda: "N/A",
        temperature=lambda: 70,
    )


def test_gpus_are_read_until_the_monitor_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvitop.CudaDevice", fake_gpu)
    monkeypatch.setattr("virnucpro.runs.monitor._EVERY_SECONDS", 0.01)
    monitor = Monitor(["cuda:1", "cpu", "cuda:3"])
    monitor.start()
    while len(monitor.readings.get("cuda:3", [])) < 3:
        time.sleep(0.01)
    monitor.stop()
    latest = monitor.latest()
    assert latest.keys() == {"cuda:1", "cuda:3"}
    assert (latest["cuda:1"].utilisation, latest["cuda:1"].memory) == (97.0, 2.0 * 2**30)
    assert str(latest["cuda:3"].power) == "nan"
    time.sleep(0.05)
    count = len(monitor.readings["cuda:1"])
    time.sleep(0.05)
    assert len(monitor.readings["cuda:1"]) == count
