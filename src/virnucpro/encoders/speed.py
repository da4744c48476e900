"""The choice of a network's backend: the fastest one that computes right on its device."""

import torch

from virnucpro.encoders.backends import Backend
from virnucpro.encoders.network import EncoderConfig, Network
from virnucpro.encoders.packed import pack
from virnucpro.encoders.packing import one_thread_an_operation
from virnucpro.encoders.precision import stored_bits
from virnucpro.encoders.table import spec_of
from virnucpro.encoders.trial import fault_of
from virnucpro.errors import SettingsError


def speed_up(network: Network, precision: str) -> str:
    """Give a network the fastest steps that compute correctly on its device, for inference only.

    Args:
        network: a network in evaluation mode, in the type of the precision. If the precision stores
            weights in 8 or 4 bits, the network is packed here unless it is packed already.
        precision: a key of `DTYPES`; `EncoderSpec.computed` says what networks without it compute.

    Returns:
        what was chosen and why nothing faster, in one line.

    Raises:
        SettingsError: no backend computes right.
    """
    spec, device = spec_of(network.config), network.device
    precision = spec.computed(precision, device)
    if not spec.backends_for(precision, device):
        return _speed_up_parts(network, precision)
    bits = stored_bits(precision, device)
    if bits is not None:
        (part,) = network.parts.values()
        pack(part, bits)
    backends, reasons = _to_try(network.config, precision, device)
    for backend in backends:
        reason = fault_in(network, precision, backend)
        if not reason:
            backend.prepare(network)
            return "; ".join([backend.name, *reasons])
        reasons.append(f"not {backend.name}: {reason}")
    raise SettingsError(
        f"{precision} does not work on this {device.type} ({'; '.join(reasons)}); "
        "give another --precision, or get the bundle again"
    )


def fault_in(network: Network, precision: str, backend: Backend | None = None) -> str:
    """Return what is wrong with a backend on a network's device, or an empty string.

    Args:
        network: the network, which stays as it is.
        precision: a key of `DTYPES`.
        backend: the backend to try; by default the fastest of the precision.
    """
    spec = spec_of(network.config)
    backend = backend or spec.backends_for(precision, network.device)[0]
    with one_thread_an_operation():  # as packs are computed on a CPU
        return fault_of(network, backend, precision, spec.trial)


def backends_to_try(precision: str, config: EncoderConfig, device: torch.device) -> list[str]:
    """Return the names of the backends that `speed_up` tries on a device, the fastest first."""
    return [backend.name for backend in _to_try(config, precision, device)[0]]


def _to_try(
    config: EncoderConfig, precision: str, device: torch.device
) -> tuple[list[Backend], list[str]]:
    """Return the backends to try, and why others cannot be tried."""
    backends, reasons = [], []
    for backend in spec_of(config).backends_for(precision, device):
        reason = backend.unfit(config, device)
        if reason is None:
            backends.append(backend)
        elif reason and reason not in reasons:
            reasons.append(reason)
    return backends, reasons


def _speed_up_parts(network: Network, precision: str) -> str:
    notes = {name: speed_up(part, precision) for name, part in network.parts.items()}
    first, *others = notes.values()
    if all(other == first for other in others):
        return first
    return ", ".join(f"{name}: {note}" for name, note in notes.items())
