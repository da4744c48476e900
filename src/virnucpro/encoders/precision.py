"""The precisions that networks are computed in, and which of them a device computes."""

from contextlib import suppress
from functools import cache

import torch

from virnucpro.encoders.steps import int8
from virnucpro.errors import SettingsError, one_line

#: Precision -> type of weights and activations on a GPU. fp8 keeps activations in fp16. int8 and
#: int4 compute in fp16 and store the weights of blocks in 8 or 4 bits. On a CPU, int8 is fp32 with
#: 8-bit products.
DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float16,
    "int8": torch.float16,
    "int4": torch.float16,
}
#: Bits of the stored weights of packed blocks.
_STORED_BITS = {"int8": 8, "int4": 4}
#: First compute capability with a precision (CUDA C++ programming guide, table of features).
_FIRST_CAPABILITY = {
    "bf16": (8, 0),
    "fp16": (7, 0),
    "fp8": (8, 9),
    "int8": (7, 0),
    "int4": (7, 0),
}


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device cannot compute.

    Raises:
        SettingsError: it cannot; the message names the precisions to choose from.
    """
    if precision not in DTYPES:
        raise SettingsError(f"--precision {precision}: give auto, {', '.join(DTYPES)}")
    if device.type == "cpu":
        if precision == "int8":
            if fault := int8_fault():
                raise SettingsError(
                    f"--precision int8 does not work on this CPU: {fault}; give fp32 or bf16"
                )
        elif DTYPES[precision] == torch.float16:
            raise SettingsError(
                f"--precision {precision} needs a GPU; on a CPU give fp32, bf16 or int8"
            )
        return
    needed = _FIRST_CAPABILITY.get(precision, (0, 0))
    found = torch.cuda.get_device_capability(device)
    if found < needed:
        raise SettingsError(
            f"--precision {precision} needs a GPU of compute capability "
            f"{needed[0]}.{needed[1]} or newer, this one has {found[0]}.{found[1]}; give fp32"
        )


def default_precision(device: torch.device) -> str:
    """Return fp16 for a GPU that computes it fast, else fp32.

    ESM-2 was trained in fp16, which rounds eight times finer than bf16. On a CPU, an architecture
    may have a default of its own: `EncoderSpec.cpu_precision`.
    """
    if device.type != "cuda":
        return "fp32"
    fast = torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY["fp16"]
    return "fp16" if fast else "fp32"


@cache
def int8_fault() -> str:
    """Return why 8-bit products do not work on this CPU, or an empty string if they do."""
    if not torch.backends.mkldnn.is_available():
        return "PyTorch has no oneDNN"
    if not _has_vnni():
        return "it has no instructions for them (AVX-512 VNNI or AVX-VNNI)"
    try:
        return int8.product_fault()
    except Exception as error:  # noqa: BLE001 (whatever a library without them may raise)
        return f"{type(error).__name__}: {one_line(str(error))}"


def _has_vnni() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # older PyTorch
        return bool(torch.cpu._is_vnni_supported())  # noqa: SLF001 (it has no public name)
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_vnni") or found.get("avx_vnni"))


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """Return the type of weights when they are loaded, and of activations between products."""
    if device.type == "cpu" and precision == "int8":
        return torch.float32
    return DTYPES[precision]


def computed_precisions(device: torch.device) -> list[str]:
    """Return all precisions that a device computes."""
    found = []
    for precision in DTYPES:
        with suppress(SettingsError):
            check_precision(precision, device)
            found.append(precision)
    return found


def fast_precisions(device: torch.device) -> list[str]:
    """Return the precisions that a device has units for, its default first."""
    if device.type == "cpu":
        return ["fp32"]
    computed = computed_precisions(device)
    return [default_precision(device), *(name for name in ("bf16", "fp8") if name in computed)]


def stored_bits(precision: str, device: torch.device | None = None) -> int | None:
    """Return in how many bits a precision stores the weights of blocks, or None if they are whole.

    Args:
        precision: a key of `DTYPES`.
        device: the device; by default a GPU.
    """
    if device is not None and device.type == "cpu" and precision == "int8":
        return None
    return _STORED_BITS.get(precision)
