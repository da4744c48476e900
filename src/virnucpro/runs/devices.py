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

#: Seconds that the thread that feeds a GPU waits at most for the one that prepares.
_SWITCH_SECONDS = 2e-4

# Options of mallopt(3), from glibc's malloc.h, and the largest values that help or are allowed.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 1 << 29
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 1 << 25


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Most tokens of one forward pass; a run keeps them on every device and in every rerun.

    Attributes:
        protein: of the protein encoder.
        dna: of the DNA encoder.
    """

    protein: int
    dna: int


@dataclass(frozen=True)
class Device:
    """A device and how it is used.

    Attributes:
        device: where PyTorch computes.
        precision: name of the encoders' arithmetic (`virnucpro.encoders.precision.DTYPES`).
        dtype: type of the encoders' weights and activations.
        kind: what sort of device, of a CPU its instruction sets; results of one kind and precision
            are the same bytes.
    """

    device: torch.device
    precision: str
    dtype: torch.dtype
    kind: str


class Settled(NamedTuple):
    """Where and how a worker will compute.

    Attributes:
        device: with the precision chosen.
        budgets: the largest that fit its free memory.
        notes: what the user should know of the choice.
    """

    device: Device
    budgets: Budgets
    notes: tuple[str, ...] = ()


def device_names(asked: str) -> list[str]:
    """Return the devices that the user asked for.

    Args:
        asked: `auto` (all GPUs, else the CPU), `cuda` (all GPUs), or names parted by commas:
            `cpu`, which may come several times, and `cuda:N`.

    Raises:
        SettingsError: when there is no such device, or a GPU comes twice.
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
        raise SettingsError(f"--device {asked}: {twice[0]} comes twice; give each GPU once")
    return names


def no_gpu(asked: str, count: int) -> NoReturn:
    """Refuse a GPU that this machine does not have; it has `count`."""
    raise SettingsError(
        f"--device {asked}: this machine has {count} CUDA devices; give --device cpu, or see what "
        "virnucpro doctor finds"
    )


def ready_process(device: torch.device) -> None:
    """Set what makes a process a good one to compute on a device."""
    if device.type == "cpu":
        _keep_freed_memory()
    else:
        sys.setswitchinterval(_SWITCH_SECONDS)


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next forward pass instead of returning it.

    Activations are megabytes and come and go; without this each is mapped and zeroed by the
    kernel anew, which costs a CPU worker a quarter of its time (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def kind_of(device: torch.device) -> str:
    """Return what results depend on: the name of a GPU, the instruction sets of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()} {instructions()}"
