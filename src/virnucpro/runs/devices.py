"""Devices of this machine: which there are, what kind they are, and a process ready for one."""

import ctypes
import platform
import re
import sys
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import msgspec
import torch

from virnucpro.errors import SettingsError
from virnucpro.system.instructions import instructions

#: Longest time in seconds that the thread that feeds a GPU waits for the one that prepares.
_SWITCH_SECONDS = 2e-4

# Options of mallopt(3), from glibc's malloc.h, and the largest values that help or are allowed.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 1 << 29
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 1 << 25


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Largest number of tokens of one forward pass, the same on all devices and in all reruns.

    Attributes:
        protein: tokens of the protein encoder.
        dna: tokens of the DNA encoder.
    """

    protein: int
    dna: int


@dataclass(frozen=True)
class Device:
    """A device and how it is used.

    Attributes:
        device: the device of PyTorch.
        precision: name of the encoders' arithmetic (`virnucpro.encoders.precision.DTYPES`).
        dtype: type of the encoders' weights and activations.
        kind: model of a GPU, or maker and instruction sets of a CPU. Devices of the same kind give
            the same bytes in the same precision.
    """

    device: torch.device
    precision: str
    dtype: torch.dtype
    kind: str


class Settled(NamedTuple):
    """The device of a worker and the budgets chosen for it.

    Attributes:
        device: the device with its chosen precision.
        budgets: the largest budgets that fit its free memory.
        notes: what the user should know about the choice.
    """

    device: Device
    budgets: Budgets
    notes: tuple[str, ...] = ()


def device_names(asked: str) -> list[str]:
    """Return the names of the devices that the user asked for.

    Args:
        asked: `auto` (all GPUs, or the CPU if there are none), `cuda` (all GPUs), or names
            separated by commas: `cuda:N`, and `cpu` once or several times.

    Raises:
        SettingsError: a device does not exist, or a GPU is given twice.
    """
    count = torch.cuda.device_count()
    all_gpus = [f"cuda:{index}" for index in range(count)]
    if asked == "auto":
        return all_gpus or ["cpu"]
    names = []
    for name in asked.split(","):
        if name == "cuda":
            names += all_gpus or no_gpu(asked, count)
        elif name == "cpu" or name in all_gpus:
            names.append(name)
        elif re.fullmatch(r"cuda:\d+", name):
            no_gpu(asked, count)
        else:
            raise SettingsError(f"--device {asked}: give auto, cuda, or names as in cuda:0,cuda:1")
    twice = [name for name in names if name != "cpu" and names.count(name) > 1]
    if twice:
        raise SettingsError(f"--device {asked}: {twice[0]} is given twice; give each GPU once")
    return names


def no_gpu(asked: str, count: int) -> NoReturn:
    """Raise the error for a GPU that this machine, which has `count`, does not have."""
    raise SettingsError(
        f"--device {asked}: this machine has {count} CUDA devices; give --device cpu, or run "
        "virnucpro doctor"
    )


def ready_process(device: torch.device) -> None:
    """Configure this process to compute well on a device."""
    if device.type == "cpu":
        _keep_freed_memory()
    else:
        sys.setswitchinterval(_SWITCH_SECONDS)


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next forward pass instead of returning it.

    Activations take megabytes and are short-lived. Otherwise the kernel maps and zeroes each of
    them again, which costs a CPU worker a quarter of its time (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def kind_of(device: torch.device) -> str:
    """Return the model of a GPU, or the architecture, maker and instruction sets of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()} {instructions()}"
