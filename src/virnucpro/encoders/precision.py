"""Which steps a network gets: the fastest that are right on its device.

Each way is tried on the network itself, against plain fp32.
"""

from contextlib import suppress
from functools import cache
from typing import cast

import torch

from virnucpro.encoders.dnabert_s import DnabertS, DnabertSConfig
from virnucpro.encoders.esm2 import Esm2, Esm2Block, Esm2Config
from virnucpro.encoders.packed import pack
from virnucpro.encoders.packing import one_thread_an_operation
from virnucpro.encoders.six_frames import SixFrames, SixFramesConfig
from virnucpro.encoders.steps import int8
from virnucpro.encoders.steps.cpu import CpuSteps, pair_rows
from virnucpro.encoders.trial import Way, device_of, fault_of
from virnucpro.errors import SettingsError, one_line

Encoder = Esm2 | DnabertS
EncoderConfig = Esm2Config | DnabertSConfig | SixFramesConfig

#: The encoders' precision -> type of weights and activations on a GPU. fp8 keeps activations in
#: fp16; int8 and int4 compute in fp16 and store the weights of the protein encoder's blocks in 8 or
#: 4 bits. On a CPU int8 is fp32 with products of 8 bit.
DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float16,
    "int8": torch.float16,
    "int4": torch.float16,
}
#: Bits of the stored weights, where they are packed.
_STORED_BITS = {"int8": 8, "int4": 4}
#: First compute capability that has it (CUDA C++ programming guide, table of features).
_FIRST_CAPABILITY = {
    "bf16": (8, 0),
    "fp16": (7, 0),
    "fp8": (8, 9),
    "int8": (7, 0),
    "int4": (7, 0),
}
#: Columns of a head for which there are attention kernels: halves of it fill tiles.
_KERNEL_HEADS = (32, 64, 128)
#: What networks come with.
_PLAIN = Way("plain PyTorch", lambda _: None)
#: Products of 8 bit on a CPU: `compact` is off by 0.004 in its trial, `compact-pair` by 0.03.
_INT8 = Way("8-bit products for a CPU", int8.quantise, 0.1)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what a device cannot compute.

    Raises:
        SettingsError: with the precisions to choose from.
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
    """Return fp16 where a GPU computes it fast, else fp32.

    ESM-2 was trained in fp16, which rounds eight times finer than bf16. Networks that read six
    frames have a default of their own on a CPU, `six_frames_default`.
    """
    if device.type != "cuda":
        return "fp32"
    fast = torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY["fp16"]
    return "fp16" if fast else "fp32"


def six_frames_default() -> tuple[str, str]:
    """Return the default of networks that read six frames on this CPU.

    Returns:
        int8, or fp32 where its products do not work, and why not.
    """
    fault = int8_fault()
    return ("fp32", fault) if fault else ("int8", "")


@cache
def int8_fault() -> str:
    """Return why products of 8 bit do not work on this CPU, empty if they do."""
    if not torch.backends.mkldnn.is_available():
        return "PyTorch has no oneDNN"
    if not _has_vnni():
        return "it has no instructions for them (AVX-512 VNNI or AVX-VNNI)"
    try:
        return int8.product_fault()
    except Exception as error:  # noqa: BLE001 (whatever a library without them may raise)
        return f"{type(error).__name__}: {one_line(str(error))}"


def int8_fault_in(network: SixFrames) -> str:
    """Return why products of 8 bit do not work for a network's weights, empty if they do."""
    with one_thread_an_operation():  # as packs are computed
        return fault_of(network, _INT8, "int8")


def _has_vnni() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # not in every supported PyTorch
        return bool(torch.cpu._is_vnni_supported())  # noqa: SLF001 (what PyTorch itself asks)
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_vnni") or found.get("avx_vnni"))


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """Return the type of weights as they are loaded, and of activations between products."""
    if device.type == "cpu" and precision == "int8":
        return torch.float32
    return DTYPES[precision]


def computed_precisions(device: torch.device) -> list[str]:
    """Return every precision that a device computes."""
    found = []
    for precision in DTYPES:
        with suppress(SettingsError):
            check_precision(precision, device)
            found.append(precision)
    return found


def fast_precisions(device: torch.device) -> list[str]:
    """Return what a device has units for, its default first."""
    if device.type == "cpu":
        return ["fp32"]
    computed = computed_precisions(device)
    return [default_precision(device), *(name for name in ("bf16", "fp8") if name in computed)]


def stored_bits(precision: str, device: torch.device | None = None) -> int | None:
    """Return in how many bits the protein encoder's blocks are packed, or None where not.

    Args:
        precision: a key of `DTYPES`.
        device: where; by default a GPU.
    """
    if device is not None and device.type == "cpu" and precision == "int8":
        return None
    return _STORED_BITS.get(precision)


def speed_up(network: Encoder | SixFrames, precision: str) -> str:
    """Give a network the fastest steps that are right on its device; it is for inference then.

    Args:
        network: in evaluation mode, in the type of the precision; where that stores 8 or 4 bits,
            packed already, or it is packed now. DNABERT-S, a twentieth of the work, and networks
            that read six frames, which are small, stay in fp16 where it is fp8, int8 or int4; on a
            CPU DNABERT-S stays in fp32 where it is int8.
        precision: a key of `DTYPES`.

    Returns:
        what was chosen, and why nothing faster, in one line.

    Raises:
        SettingsError: when none is.
    """
    device = device_of(network)
    eight = device.type == "cpu" and precision == "int8"
    if not isinstance(network, Esm2) and DTYPES[precision] == torch.float16 and not eight:
        precision = "fp16"
    if isinstance(network, DnabertS) and eight:
        precision = "fp32"
    if isinstance(network, SixFrames) and not eight:
        frames, windows = (speed_up(part, precision) for part in (network.frames, network.windows))
        return frames if frames == windows else f"frames: {frames}, windows: {windows}"
    bits = stored_bits(precision, device)
    if bits is not None and isinstance(network, Esm2):
        pack(network, bits)
    reasons: list[str] = []
    for way in _ways(precision, network.config, device, reasons):
        with one_thread_an_operation():  # as packs are computed on a CPU
            reason = fault_of(network, way, precision)
        if not reason:
            way.prepare(network)
            return "; ".join([way.name, *reasons])
        reasons.append(f"not {way.name}: {reason}")
    raise SettingsError(
        f"{precision} does not work on this {device.type} ({'; '.join(reasons)}); "
        "give another --precision, or get the bundle again"
    )


def ways_to_try(
    precision: str, config: Esm2Config | DnabertSConfig, device: torch.device
) -> list[str]:
    """Return the names of the ways that `speed_up` tries on a device, the fastest first."""
    return [way.name for way in _ways(precision, config, device, [])]


def _ways(
    precision: str, config: EncoderConfig, device: torch.device, reasons: list[str]
) -> list[Way]:
    """Return what to try, fastest first; what cannot even be tried goes into `reasons`."""
    if device.type == "cpu" and precision == "int8":
        return [_INT8]
    if device.type == "cpu" and precision == "fp32":
        return [Way("fused steps for a CPU", _with_cpu_steps), _PLAIN]
    if device.type == "cpu" or precision == "fp32":
        return [_PLAIN]
    size = config.width // cast("Esm2Config | DnabertSConfig", config).heads
    if size not in _KERNEL_HEADS:
        reasons.append(f"no kernels for heads of {size} columns")
        kernels = []
    else:
        kernels = _kernel_ways(precision, device, reasons)
    return kernels if precision == "fp8" else [*kernels, _PLAIN]


def _kernel_ways(precision: str, device: torch.device, reasons: list[str]) -> list[Way]:
    try:
        from virnucpro.encoders.steps import fp8, fused  # noqa: PLC0415 (need Triton)
    except ImportError as error:
        reasons.append(f"Triton cannot be loaded ({error})")
        return []
    if precision == "fp8":
        return [Way("8-bit products and kernels in Triton", fp8.quantise)]
    kernels = Way("kernels in Triton around the library's products", fused.use_kernels)
    if torch.cuda.get_device_capability(device)[0] == 9:  # where they were measured to be faster
        return [Way("products and kernels in Triton", fused.use_products), kernels]
    return [kernels]


def _with_cpu_steps(network: Encoder) -> None:
    if isinstance(network, Esm2):
        for block in network.blocks:
            pair_rows(cast("Esm2Block", block), network.config.heads)
    network.steps = CpuSteps()
