"""Where to compute, in which precision, and how much at a time."""

import ctypes
import platform
import re
from dataclasses import dataclass
from typing import NoReturn

import msgspec
import torch

from virnucpro.bundles import Manifest
from virnucpro.encoders.precision import DTYPES, check_precision, default_precision
from virnucpro.errors import SettingsError

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
        precision: a key of `DTYPES`, the encoders' arithmetic.
        kind: what sort of device; results of one kind and precision are the same bytes.
    """

    device: torch.device
    precision: str
    kind: str

    @property
    def dtype(self) -> torch.dtype:
        """Type of the encoders' weights and activations."""
        return DTYPES[self.precision]


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
            names += all_gpus or _no_gpu(asked, count)
        elif name == "cpu" or name in all_gpus:
            names.append(name)
        elif re.fullmatch(r"cuda:\d+", name):
            _no_gpu(asked, count)
        else:
            raise SettingsError(f"--device {asked}: give auto, cuda, or names as in cuda:0,cuda:1")
    twice = [name for name in names if name != "cpu" and names.count(name) > 1]
    if twice:
        raise SettingsError(f"--device {asked}: {twice[0]} comes twice; give each GPU once")
    return names


def _no_gpu(asked: str, count: int) -> NoReturn:
    raise SettingsError(f"--device {asked}: this machine has {count} CUDA devices")


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Turn what the user asked for into a device.

    Args:
        name: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` (fp16 where a GPU computes it fast, else fp32), `fp32`, `bf16`, `fp16`
            or `fp8`.

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
            raise SettingsError(f"--device {name}: this machine has {count} CUDA devices")
    if precision == "auto":
        precision = default_precision(device)
    check_precision(precision, device)
    return Device(device, precision, _kind(device))


def choose_budgets(device: Device, bundle: Manifest) -> Budgets:
    """Return the largest budgets that keep a device busy and fit into its free memory.

    Called before the weights are loaded; their memory is set aside.
    """
    if device.device.type == "cpu":
        return Budgets(_CPU_BUDGET, _CPU_BUDGET)
    free, _ = torch.cuda.mem_get_info(device.device)
    size = device.dtype.itemsize
    protein, dna = bundle.protein_encoder, bundle.dna_encoder
    weights = 12 * protein.layers * protein.width**2
    weights += dna.layers * dna.width * (4 * dna.width + 3 * dna.feed_forward)
    room = _SHARE * max(0, free - size * weights)
    wave = _TILE_ROWS * torch.cuda.get_device_properties(device.device).multi_processor_count
    return Budgets(*(_budget(wave, width, room, size) for width in (protein.width, dna.width)))


def _budget(wave: int, width: int, room: float, size: int) -> int:
    """Return a multiple or an eighth of the tokens of a wave."""
    budget = wave * max(1, min(_MOST_WAVES, _FULL_WIDTH // width))
    while budget > wave // 8 and budget * width * _LIVE_COLUMNS * size > room:
        budget //= 2
    return budget


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
