"""Where to compute, in which precision, and how much at a time."""

import ctypes
import platform
from dataclasses import dataclass

import torch

from virnucpro.errors import SettingsError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

#: Tokens of one forward pass. On a CPU small enough that activations stay in its cache
#: (docs/log.md); on a GPU large enough to fill it.
_TOKEN_BUDGET = {"cpu": 2048, "cuda": 16384}


# Options of mallopt(3), from glibc's malloc.h, and the largest values that help or are allowed.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 1 << 29
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 1 << 25


@dataclass(frozen=True)
class Device:
    """A device and how it is used.

    Attributes:
        device: where PyTorch computes.
        precision: a key of `DTYPES`, the encoders' arithmetic.
        kind: what sort of device; results of one kind and precision are the same bytes.
        token_budget: most tokens of one forward pass.
    """

    device: torch.device
    precision: str
    kind: str
    token_budget: int

    @property
    def dtype(self) -> torch.dtype:
        """The encoders' arithmetic as PyTorch names it."""
        return DTYPES[self.precision]


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Turn what the user asked for into a device.

    Args:
        name: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` (fp16 on a GPU, fp32 on a CPU), `fp32`, `bf16` or `fp16`.

    Raises:
        SettingsError: when the device or the precision is not to be had here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"--device {name}: give auto, cpu, cuda or cuda:N") from error
    if device.type not in _TOKEN_BUDGET:
        raise SettingsError(f"--device {name}: give auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise SettingsError(f"--device {name}: this machine has {count} CUDA devices")
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    if precision not in DTYPES:
        raise SettingsError(f"--precision {precision}: give auto, {', '.join(DTYPES)}")
    if device.type == "cpu" and precision == "fp16":
        raise SettingsError("--precision fp16 needs a GPU; on a CPU give fp32 or bf16")
    return Device(device, precision, _kind(device), _TOKEN_BUDGET[device.type])


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next forward pass instead of returning it.

    Activations are megabytes and come and go; without this each is mapped and zeroed by the
    kernel anew, which costs a CPU worker a quarter of its time (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def _kind(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
