"""The device, the precision and the batch sizes that fit a bundle or an encoder."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from virnucpro.bundles.loading import load_encoder
from virnucpro.bundles.store import Bundle
from virnucpro.bundles.stored_encoder import Model
from virnucpro.encoders import EncoderConfig
from virnucpro.encoders.precision import (
    DTYPES,
    check_precision,
    default_precision,
    dtype_of,
    int8_fault,
    stored_bits,
)
from virnucpro.encoders.speed import fault_in
from virnucpro.encoders.table import memory_of, spec_of
from virnucpro.errors import SettingsError
from virnucpro.runs.devices import Budgets, Device, Settled, kind_of, no_gpu

#: Tokens of one forward pass on a CPU, few enough to keep activations in its cache (docs/log.md).
_CPU_BUDGET = 2048
#: Rows of a tile of a matrix product; this many tokens for each multiprocessor make whole waves.
_TILE_ROWS = 128
#: Width at which one wave fills a GPU, and the most waves that narrower networks get.
_FULL_WIDTH, _MOST_WAVES = 10240, 8
#: Most numbers that an encoder holds at a time for each token and column of its width.
_LIVE_COLUMNS = 20
#: Share of the free memory that activations may take.
_SHARE = 0.6
#: Share of a device's memory that a process can use, bytes of it that CUDA takes, and tokens of the
#: smallest useful pass.
_USABLE, _CONTEXT_BYTES, _LEAST_TOKENS = 0.95, 600 << 20, 2048


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Turn what the user asks for into a device.

    Args:
        name: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` (fp16 on a GPU that computes it fast, else fp32), or a key of `DTYPES`.

    Raises:
        SettingsError: the device or the precision is not available here.
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


def settle(name: str, precision: str, found: Bundle | Model) -> Settled:
    """Choose device, precision and the largest budgets for networks that are not loaded yet.

    Args:
        name: name of the device; see `choose_device`.
        precision: precision that the user asks for. `auto` takes the first that fits the memory of
            a GPU; on a CPU the one of the architecture, if it computes right there.
        found: a bundle or a lone encoder. Both budgets of a lone encoder are its own.

    Raises:
        SettingsError: the device or the precision is not available, or nothing fits.
    """
    configs = [encoder.config for encoder in found.encoders.values()]
    device, notes = _fitting(choose_device(name, precision), precision, configs)
    if device.device.type == "cpu" and precision == "auto":
        device, notes = _preferred(device, found)
    return Settled(device, choose_budgets(device, configs), notes)


def choose_budgets(device: Device, configs: Sequence[EncoderConfig]) -> Budgets:
    """Return the largest budgets that keep a device busy and fit into its free memory.

    Args:
        device: device and precision.
        configs: sizes of the encoders, protein before DNA. Their weights are not loaded yet; the
            budgets leave room for them.
    """
    if device.device.type == "cpu":
        return Budgets(_CPU_BUDGET, _CPU_BUDGET)
    free, _ = torch.cuda.mem_get_info(device.device)
    weights = sum(memory_of(config, device.precision) for config in configs)
    room = _SHARE * max(0, free - weights)
    wave = _TILE_ROWS * torch.cuda.get_device_properties(device.device).multi_processor_count
    budgets = [_budget(wave, config.width, room, device.dtype.itemsize) for config in configs]
    return Budgets(budgets[0], budgets[-1])


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


def _preferred(device: Device, found: Bundle | Model) -> tuple[Device, tuple[str, ...]]:
    """Return a CPU with the precision of the architectures, or why it computes another."""
    stored = list(found.encoders.values())
    wanted = {spec_of(encoder.config).cpu_precision for encoder in stored}
    if wanted != {"int8"}:
        return device, ()
    if fault := int8_fault():
        return device, (f"int8 does not work on this CPU: {fault}; fp32 is computed",)
    for encoder in stored:
        network = load_encoder(encoder, device.device, torch.float32)
        if fault := fault_in(network, "int8"):
            return device, (
                f"int8 does not work for {found.name} on this CPU: {fault}; fp32 is computed",
            )
    return _in_precision(device, "int8"), ()


def _in_precision(device: Device, precision: str) -> Device:
    """Return the same device with another precision."""
    return replace(device, precision=precision, dtype=dtype_of(precision, device.device))


def fitting_precision(total: int, precision: str, configs: Sequence[EncoderConfig]) -> str | None:
    """Return a precision, or the next smaller storage whose weights fit, or None.

    The result depends on the kind of device alone, not on what else uses its memory.

    Args:
        total: bytes of the device.
        precision: preferred precision.
        configs: sizes of the networks.
    """
    choices = [precision, *(p for p in ("int8", "int4") if DTYPES[precision] == DTYPES[p])]
    return next((p for p in choices if _needed(configs, p) <= _USABLE * total), None)


def _needed(configs: Sequence[EncoderConfig], precision: str) -> float:
    """Return the bytes of the weights, of the smallest pass, and of CUDA itself."""
    widest = max(config.width for config in configs)
    smallest_pass = _LEAST_TOKENS * widest * _LIVE_COLUMNS * DTYPES[precision].itemsize / _SHARE
    return sum(memory_of(config, precision) for config in configs) + smallest_pass + _CONTEXT_BYTES


def _budget(wave: int, width: int, room: float, size: int) -> int:
    """Return a multiple or an eighth of the tokens of a wave."""
    budget = wave * max(1, min(_MOST_WAVES, _FULL_WIDTH // width))
    while budget > wave // 8 and budget * width * _LIVE_COLUMNS * size > room:
        budget //= 2
    return budget
