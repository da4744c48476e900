"""Which device and precision fit a bundle or an encoder, and how much goes through at a time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from virnucpro.bundles import Bundle, Manifest
from virnucpro.classify.classifier import load_classifier
from virnucpro.encoders import DnabertSConfig, Esm2Config
from virnucpro.encoders.memory import memory_of
from virnucpro.encoders.precision import (
    DTYPES,
    EncoderConfig,
    check_precision,
    default_precision,
    dtype_of,
    int8_fault_in,
    six_frames_default,
    stored_bits,
)
from virnucpro.encoders.six_frames import SixFrames, SixFramesConfig
from virnucpro.errors import SettingsError
from virnucpro.runs.devices import Budgets, Device, Settled, kind_of, no_gpu

#: Tokens of one forward pass on a CPU: few enough that activations stay in its cache (docs/log.md).
_CPU_BUDGET = 2048
#: Rows of a tile of a matrix product: so many tokens for each multiprocessor make whole waves.
_TILE_ROWS = 128
#: Width at which one wave fills a GPU; narrower networks get more of them, up to a limit.
_FULL_WIDTH, _MOST_WAVES = 10240, 8
#: Numbers an encoder holds for each token and column of its width at the worst moment.
_LIVE_COLUMNS = 20
#: Share of the free memory that activations may take.
_SHARE = 0.6
#: Share of a device's memory that a process may count on, what CUDA takes of it, and tokens of the
#: smallest pass worth making.
_USABLE, _CONTEXT_BYTES, _LEAST_TOKENS = 0.95, 600 << 20, 2048


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Turn what the user asked for into a device.

    Args:
        name: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` (fp16 where a GPU computes it fast, else fp32), or a key of `DTYPES`.

    Raises:
        SettingsError: when the device or the precision is not to be had here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"--device {name}: give auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"--device {name}: give auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            no_gpu(name, count)
    if precision == "auto":
        precision = default_precision(device)
    check_precision(precision, device)
    return Device(device, precision, dtype_of(precision, device), kind_of(device))


def settle_bundle(name: str, precision: str, bundle: Bundle) -> Settled:
    """Choose device, precision and the largest budgets for a bundle, before it is loaded.

    Args:
        name: of the device; see `choose_device`.
        precision: what the user asked for; `auto` takes what fits the device's memory, and on a CPU
            int8 where all networks read six frames and are right in it.
        bundle: whose networks will be loaded.

    Raises:
        SettingsError: when the device or the precision is not to be had, or nothing fits.
    """
    configs = [encoder.config() for encoder in bundle.manifest.encoders.values()]
    device, notes = _fitting(choose_device(name, precision), precision, configs)
    if device.device.type == "cpu" and precision == "auto":
        device, notes = _of_six_frames(device, bundle)
    return Settled(device, choose_budgets(device, bundle.manifest), notes)


def settle_encoder(name: str, precision: str, config: Esm2Config | DnabertSConfig) -> Settled:
    """Choose the same for a lone encoder, both of whose budgets are its; see `settle_bundle`."""
    device, notes = _fitting(choose_device(name, precision), precision, [config])
    if device.device.type == "cpu":
        return Settled(device, Budgets(_CPU_BUDGET, _CPU_BUDGET), notes)
    (budget,) = _budgets(device, [config])
    return Settled(device, Budgets(budget, budget), notes)


def choose_budgets(device: Device, bundle: Manifest) -> Budgets:
    """Return the largest budgets that keep a device busy and fit into its free memory.

    Called before the weights are loaded; their memory is set aside.
    """
    if device.device.type == "cpu":
        return Budgets(_CPU_BUDGET, _CPU_BUDGET)
    found = _budgets(device, [encoder.config() for encoder in bundle.encoders.values()])
    return Budgets(found[0], found[-1])


def _fitting(
    device: Device, asked: str, configs: Sequence[EncoderConfig]
) -> tuple[Device, tuple[str, ...]]:
    """Return a device with a precision whose weights fit, and what the user should know."""
    if device.device.type == "cpu":
        return device, ()
    total = torch.cuda.get_device_properties(device.device).total_memory
    precision = fitting_precision(total, device.precision, configs)
    if precision is None or (precision != device.precision and asked != "auto"):
        needed = _needed(configs, device.precision) / 2**30
        raise SettingsError(
            f"{needed:.1f} GiB are needed in {device.precision}, this {device.kind} has "
            f"{total / 2**30:.1f}; {'give --precision auto' if precision else 'use smaller models'}"
        )
    if precision == device.precision:
        return device, ()
    needed = _needed(configs, device.precision) / 2**30
    note = (
        f"{device.precision} needs {needed:.1f} GiB, this {device.kind} has {total / 2**30:.1f}: "
        f"weights are stored in {stored_bits(precision)} bits (--precision {precision})"
    )
    return _in_precision(device, precision), (note,)


def _of_six_frames(device: Device, bundle: Bundle) -> tuple[Device, tuple[str, ...]]:
    """Return a CPU with the precision for a bundle, and why it is not the default of its kind."""
    configs = [encoder.config() for encoder in bundle.manifest.encoders.values()]
    if not all(isinstance(config, SixFramesConfig) for config in configs):
        return device, ()
    precision, fault = six_frames_default()
    if fault:
        return device, (f"int8 does not work on this CPU: {fault}; fp32 is computed",)
    network = load_classifier(bundle, device.device, torch.float32).protein_encoder
    if fault := int8_fault_in(cast("SixFrames", network)):
        name = bundle.manifest.name
        return device, (f"int8 does not work for {name} on this CPU: {fault}; fp32 is computed",)
    return _in_precision(device, precision), ()


def _in_precision(device: Device, precision: str) -> Device:
    """Return the same device with another precision."""
    return replace(device, precision=precision, dtype=dtype_of(precision, device.device))


def fitting_precision(total: int, precision: str, configs: Sequence[EncoderConfig]) -> str | None:
    """Return a precision, or the next smaller storage whose weights fit, or None.

    It depends on the kind of device alone, not on what else uses its memory.

    Args:
        total: bytes of the device.
        precision: what is wanted.
        configs: sizes of the networks.
    """
    choices = [precision, *(p for p in ("int8", "int4") if DTYPES[precision] == DTYPES[p])]
    return next((p for p in choices if _needed(configs, p) <= _USABLE * total), None)


def _needed(configs: Sequence[EncoderConfig], precision: str) -> float:
    """Return the bytes of weights, of the smallest pass, and of what CUDA keeps for itself."""
    widest = max(config.width for config in configs)
    smallest_pass = _LEAST_TOKENS * widest * _LIVE_COLUMNS * DTYPES[precision].itemsize / _SHARE
    return sum(memory_of(config, precision) for config in configs) + smallest_pass + _CONTEXT_BYTES


def _budgets(device: Device, configs: Sequence[EncoderConfig]) -> list[int]:
    free, _ = torch.cuda.mem_get_info(device.device)
    weights = sum(memory_of(config, device.precision) for config in configs)
    room = _SHARE * max(0, free - weights)
    wave = _TILE_ROWS * torch.cuda.get_device_properties(device.device).multi_processor_count
    return [_budget(wave, config.width, room, device.dtype.itemsize) for config in configs]


def _budget(wave: int, width: int, room: float, size: int) -> int:
    """Return a multiple or an eighth of the tokens of a wave."""
    budget = wave * max(1, min(_MOST_WAVES, _FULL_WIDTH // width))
    while budget > wave // 8 and budget * width * _LIVE_COLUMNS * size > room:
        budget //= 2
    return budget
