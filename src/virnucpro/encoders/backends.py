"""The ways (backends) to compute a network, from which its `EncoderSpec` takes those that fit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from virnucpro.encoders.network import EncoderConfig, Transformer
from virnucpro.encoders.steps.cpu import CpuSteps

#: Widths of attention heads that the kernels can compute: their halves fill tiles.
_KERNEL_HEADS = (32, 64, 128)
#: Compute capability for which the Triton products were measured to be faster than the library's.
_HOPPER = 9

Change = Callable[[Any], None]


def _fits(_: EncoderConfig, __: torch.device) -> str | None:
    return None


def kernels_unfit(config: EncoderConfig, _: torch.device) -> str | None:
    """Return why the Triton kernels cannot compute a network, or None if they can be tried."""
    if config.head_width not in _KERNEL_HEADS:
        return f"no kernels for heads of {config.head_width} columns"
    try:
        import virnucpro.encoders.steps.fused  # noqa: F401, PLC0415 (needs Triton)
    except ImportError as error:
        return f"Triton cannot be loaded ({error})"
    return None


class Backend(NamedTuple):
    """One way to compute a network.

    Attributes:
        name: description for the user.
        device: `cpu` or `cuda`, or an empty string for any device.
        precisions: precisions that it computes. A network whose weights are stored in 8 or 4 bits
            on a GPU is computed in fp16.
        prepare: changes the weights of a network as its steps need them, and gives it the steps.
        rounding: largest relative error in its trial; by default that of the precision.
        unfit: returns why a network cannot even be tried on a device: None to try it, an empty
            string to skip it without a word.
    """

    name: str
    device: str
    precisions: frozenset[str]
    prepare: Change
    rounding: float | None = None
    unfit: Callable[[EncoderConfig, torch.device], str | None] = _fits


_HALVES = frozenset({"fp16", "bf16"})


def _nothing(_: Transformer) -> None:
    """Leave a network as it is."""


#: The steps that networks start with.
PLAIN = Backend("plain PyTorch", "", _HALVES | {"fp32"}, _nothing)


def _use_kernels(network: Transformer) -> None:
    from virnucpro.encoders.steps import fused  # noqa: PLC0415 (needs Triton)

    fused.use_kernels(network)


KERNELS = Backend(
    "kernels in Triton around the library's products",
    "cuda",
    _HALVES,
    _use_kernels,
    unfit=kernels_unfit,
)


def products(gated: str | None = None) -> Backend:
    """Return the backend of Triton products for Hopper GPUs.

    Args:
        gated: name of the gated product of each block, if there is one.
    """

    def prepare(network: Transformer) -> None:
        from virnucpro.encoders.steps import fused  # noqa: PLC0415 (needs Triton)

        fused.use_products(network, gated)

    def unfit(config: EncoderConfig, device: torch.device) -> str | None:
        reason = kernels_unfit(config, device)
        if reason is None and torch.cuda.get_device_capability(device)[0] != _HOPPER:
            reason = ""
        return reason

    return Backend("products and kernels in Triton", "cuda", _HALVES, prepare, unfit=unfit)


def cpu_int8(quantise: Change) -> Backend:
    """Return the backend of 8-bit products on a CPU.

    In its trial, `compact` is off by 0.004 and `compact-pair` by 0.03.

    Args:
        quantise: replaces the products of the network, and gives it the steps.
    """
    return Backend("8-bit products for a CPU", "cpu", frozenset({"int8"}), quantise, rounding=0.1)


def cpu_steps(change: Change = _nothing) -> Backend:
    """Return the backend of fp32 steps on a CPU.

    Args:
        change: changes the weights of the network first.
    """

    def prepare(network: Transformer) -> None:
        change(network)
        network.steps = CpuSteps()

    return Backend("fused steps for a CPU", "cpu", frozenset({"fp32"}), prepare)
