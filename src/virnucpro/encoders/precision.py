"""Which steps a network gets: the fastest that are right on its device.

Each way is tried on the network's own first block, against the same block in plain fp32. That
also compiles the kernels before the first pack.
"""

import copy
import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from virnucpro.encoders.dnabert_s import DnabertS, DnabertSConfig
from virnucpro.encoders.esm2 import Esm2, Esm2Block, Esm2Config
from virnucpro.encoders.packed import PackedBlock, group_columns, pack
from virnucpro.encoders.packing import Pack, Tokens, one_thread_an_operation, pack_sequences
from virnucpro.encoders.six_frames import FRAMES, SixFrames, SixFramesConfig
from virnucpro.encoders.steps.cpu import CpuSteps, pair_rows
from virnucpro.encoders.steps.plain import PlainSteps
from virnucpro.errors import SettingsError

Encoder = Esm2 | DnabertS
EncoderConfig = Esm2Config | DnabertSConfig | SixFramesConfig

#: The encoders' precision -> type of weights and activations. fp8 keeps activations in fp16; int8
#: and int4 compute in fp16 and store the weights of the protein encoder's blocks in 8 or 4 bits.
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
#: Sequences of the trial: every kernel, and lengths at the borders of its tiles.
_TRIAL_LENGTHS = (3, 33, 64, 65, 128, 170, 256, 300, 1100)
#: Columns of a head for which there are attention kernels: halves of it fill tiles.
_KERNEL_HEADS = (32, 64, 128)
#: Largest relative error of the trial that is rounding.
_ROUNDING = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.1, "fp8": 0.3, "int8": 0.02, "int4": 0.02}


class _Way(NamedTuple):
    """One way to compute.

    Attributes:
        name: in words.
        prepare: changes a network's weights as the steps need them, and gives it the steps.
    """

    name: str
    prepare: Callable[[Any], None]


#: What networks come with.
_PLAIN = _Way("plain PyTorch", lambda _: None)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what a device cannot compute.

    Raises:
        SettingsError: with the precisions to choose from.
    """
    if precision not in DTYPES:
        raise SettingsError(f"--precision {precision}: give auto, {', '.join(DTYPES)}")
    if device.type == "cpu":
        if DTYPES[precision] == torch.float16:
            raise SettingsError(f"--precision {precision} needs a GPU; on a CPU give fp32 or bf16")
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

    ESM-2 was trained in fp16, which rounds eight times finer than bf16.
    """
    if device.type != "cuda":
        return "fp32"
    fast = torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY["fp16"]
    return "fp16" if fast else "fp32"


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


def stored_bits(precision: str) -> int | None:
    """Return in how many bits the protein encoder's blocks are packed, or None where not."""
    return _STORED_BITS.get(precision)


def memory_of(config: EncoderConfig, precision: str) -> int:
    """Return the bytes of an encoder's weights as they are computed with.

    Args:
        config: its sizes; of a DNABERT-S, which is small, its products and embedding count.
        precision: a key of `DTYPES`.

    Returns:
        12 D^2 weights and 13 D biases and numbers of norms for each layer, the embedding and the
        last norm, each at its size; for fp8, int8 and int4 their scales; for int8 and int4 the one
        block into which weights are expanded.
    """
    width, bits, size = config.width, stored_bits(precision), DTYPES[precision].itemsize
    if isinstance(config, SixFramesConfig):
        mixing = size * (FRAMES * config.frame_width + 1) * width
        plain = "fp16" if DTYPES[precision] == torch.float16 else precision
        return mixing + memory_of(config.frames, plain) + memory_of(config.windows, plain)
    if isinstance(config, DnabertSConfig):
        block = width * (4 * width + 3 * config.feed_forward)
        return size * (config.layers * block + config.vocabulary * width)
    weights, rows = 12 * width**2, 9 * width
    outside = size * (config.vocabulary + 2) * width
    block = size * (weights + 13 * width)
    if precision == "fp8":
        block += 4 * rows - (size - 1) * weights
    if bits is None:
        return outside + config.layers * block
    scales = sum(
        n * width * (k * width // group_columns(k * width, bits))
        for n, k in ((3, 1), (1, 1), (4, 1), (1, 4))
    )
    packed = weights * bits // 8 + size * (scales + 13 * width)
    return outside + config.layers * packed + block


def speed_up(network: Encoder | SixFrames, precision: str) -> str:
    """Give a network the fastest steps that are right on its device; it is for inference then.

    Args:
        network: in evaluation mode, in the type of the precision; where that stores 8 or 4 bits,
            packed already, or it is packed now. DNABERT-S, a twentieth of the work, and networks
            that read six frames, which are small, stay in fp16 where it is fp8, int8 or int4.
        precision: a key of `DTYPES`.

    Returns:
        what was chosen, and why nothing faster, in one line.

    Raises:
        SettingsError: when none is.
    """
    if not isinstance(network, Esm2) and DTYPES[precision] == torch.float16:
        precision = "fp16"
    if isinstance(network, SixFrames):
        frames, windows = (speed_up(part, precision) for part in (network.frames, network.windows))
        return frames if frames == windows else f"frames: {frames}, windows: {windows}"
    device = network.embedding.weight.device
    bits = stored_bits(precision)
    if bits is not None and isinstance(network, Esm2):
        pack(network, bits)
    reasons: list[str] = []
    for way in _ways(precision, network, reasons):
        with one_thread_an_operation():  # as packs are computed on a CPU
            reason = _fault(network, way, precision)
        if not reason:
            way.prepare(network)
            return "; ".join([way.name, *reasons])
        reasons.append(f"not {way.name}: {reason}")
    raise SettingsError(
        f"{precision} does not work on this {device.type} ({'; '.join(reasons)}); "
        "give another --precision, or get the bundle anew"
    )


def ways_to_try(
    precision: str, config: Esm2Config | DnabertSConfig, device: torch.device
) -> list[str]:
    """Return the names of the ways that `speed_up` tries on a device, the fastest first."""
    return [way.name for way in _ways_of(precision, config, device, [])]


def _ways(precision: str, network: Encoder, reasons: list[str]) -> list[_Way]:
    """Return what to try for a network where it is; see `_ways_of`."""
    return _ways_of(precision, network.config, network.embedding.weight.device, reasons)


def _ways_of(
    precision: str,
    config: Esm2Config | DnabertSConfig,
    device: torch.device,
    reasons: list[str],
) -> list[_Way]:
    """Return what to try, fastest first; what cannot even be tried goes into `reasons`."""
    if device.type == "cpu" and precision == "fp32":
        return [_Way("fused steps for a CPU", _with_cpu_steps), _PLAIN]
    if device.type == "cpu" or precision == "fp32":
        return [_PLAIN]
    size = config.width // config.heads
    if size not in _KERNEL_HEADS:
        reasons.append(f"no kernels for heads of {size} columns")
        kernels = []
    else:
        kernels = _kernel_ways(precision, device, reasons)
    return kernels if precision == "fp8" else [*kernels, _PLAIN]


def _kernel_ways(precision: str, device: torch.device, reasons: list[str]) -> list[_Way]:
    try:
        from virnucpro.encoders.steps import fp8, fused  # noqa: PLC0415 (need Triton)
    except ImportError as error:
        reasons.append(f"Triton cannot be loaded ({error})")
        return []
    if precision == "fp8":
        return [_Way("8-bit products and kernels in Triton", fp8.quantise)]
    kernels = _Way("kernels in Triton around the library's products", fused.use_kernels)
    if torch.cuda.get_device_capability(device)[0] == 9:  # where they were measured to be faster
        return [_Way("products and kernels in Triton", fused.use_products), kernels]
    return [kernels]


def _with_cpu_steps(network: Encoder) -> None:
    if isinstance(network, Esm2):
        for block in network.blocks:
            pair_rows(cast("Esm2Block", block), network.config.heads)
    network.steps = CpuSteps()


@torch.inference_mode()
def _fault(network: Encoder, way: _Way, precision: str) -> str:
    """Try a way on the first block; return what is wrong with it, empty if nothing."""
    try:
        probe, pack = _first_block(network), _trial_pack(network)
        exact = copy.deepcopy(probe).float()
        exact.steps = PlainSteps()
        expected = exact(pack)[: pack.used]
        del exact
        way.prepare(probe)
        found = probe(pack)[: pack.used].float()
        means = probe.embed(pack)
    except Exception as error:  # noqa: BLE001 (whatever a compiler or a driver may raise)
        said = str(error).strip().splitlines()
        return ": ".join([type(error).__name__, *said[:1]])[:200]
    if not bool(torch.isfinite(means).all()):
        return "its result is not finite"
    away = float((found - expected).norm() / expected.norm())
    return "" if away <= _ROUNDING[precision] else f"its result is off by {away:.2g}"


def _first_block(network: Encoder) -> Encoder:
    """Copy a network with its first block alone, expanded where it is packed."""
    config = dataclasses.replace(network.config, layers=1)
    with torch.device("meta"):
        probe = type(network)(config)  # type: ignore[arg-type]
    state, first = network.state_dict(), network.blocks[0]
    if isinstance(first, PackedBlock):
        state |= {f"blocks.0.{k}": t for k, t in first.ready().state_dict().items()}
    state = {k: t for k, t in state.items() if k in probe.state_dict()}
    probe.load_state_dict({k: t.clone() for k, t in state.items()}, assign=True)
    return probe.eval().requires_grad_(requires_grad=False)


def _trial_pack(network: Encoder) -> Pack:
    offsets = np.concatenate([[0], np.cumsum(_TRIAL_LENGTHS)]).astype(np.int64)
    vocabulary = network.config.vocabulary
    ids = np.random.default_rng(0).integers(
        min(4, vocabulary - 1), min(24, vocabulary), offsets[-1]
    )
    pack = pack_sequences(Tokens(ids, offsets), np.arange(len(_TRIAL_LENGTHS)), multiple_of=16)
    return pack.to(network.embedding.weight.device)
