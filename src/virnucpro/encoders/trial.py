"""The trial of a backend against plain fp32.

The trial runs on the network's own first block, which also compiles the kernels before the first
pack. A network that reads six frames is small and runs whole.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from virnucpro.encoders.backends import Backend
from virnucpro.encoders.network import Network, Transformer, TransformerConfig
from virnucpro.encoders.packing import Pack, Tokens, pack_sequences
from virnucpro.encoders.steps.plain import PlainSteps

#: Lengths of the sequences: all kernels run, at the borders of their tiles too.
_TRIAL_LENGTHS = (3, 33, 64, 65, 128, 170, 256, 300, 1100)
#: Largest relative error that counts as rounding.
_ROUNDING = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.1, "fp8": 0.3, "int8": 0.02, "int4": 0.02}


class Trial(NamedTuple):
    """The small network and the tokens that a backend is tried with.

    Attributes:
        probe: copies a network, or a small part of it.
        tokens: draws tokens for a network of some sizes.
    """

    probe: Callable[[Any], Any]
    tokens: Callable[[Any, np.random.Generator], Tokens]


@torch.inference_mode()
def fault_of(network: Network, backend: Backend, precision: str, trial: Trial) -> str:
    """Try a backend on a copy; return what is wrong with it, or an empty string."""
    try:
        probe, pack = trial.probe(network), _trial_pack(network, trial)
        expected = _plain(probe)(pack)[: pack.used]
        backend.prepare(probe)
        found = probe(pack)[: pack.used].float()
        means = probe.embed(pack)
    except Exception as error:  # noqa: BLE001 (whatever a compiler or a driver may raise)
        lines = str(error).strip().splitlines()
        return ": ".join([type(error).__name__, *lines[:1]])[:200]
    if not bool(torch.isfinite(means).all()):
        return "its result is not finite"
    away = float((found - expected).norm() / expected.norm())
    allowed = _ROUNDING[precision] if backend.rounding is None else backend.rounding
    return "" if away <= allowed else f"its result is off by {away:.2g}"


def _plain(network: Network) -> Network:
    """Copy a network into plain fp32."""
    exact = copy.deepcopy(network).float()
    for part in exact.parts.values():
        part.steps = PlainSteps()
    return exact


def _trial_pack(network: Network, trial: Trial) -> Pack:
    tokens = trial.tokens(network.config, np.random.default_rng(0))
    pack = pack_sequences(tokens, np.arange(len(tokens.lengths)), multiple_of=16)
    return pack.to(network.device)


def _first_block(network: Transformer) -> Transformer:
    """Copy a network with its first block alone, expanded if it is packed."""
    network_type: Any = type(network)
    with torch.device("meta"):
        probe: Transformer = network_type(msgspec.structs.replace(network.config, layers=1))
    first: Any = network.blocks[0]
    state = network.state_dict()
    state |= {f"blocks.0.{name}": tensor for name, tensor in first.ready().state_dict().items()}
    state = {name: tensor.clone() for name, tensor in state.items() if name in probe.state_dict()}
    probe.load_state_dict(state, assign=True)
    return probe.eval().requires_grad_(requires_grad=False)


def _random_tokens(config: TransformerConfig, random: np.random.Generator) -> Tokens:
    offsets = offsets_of(_TRIAL_LENGTHS)
    least, most = min(4, config.vocabulary - 1), min(24, config.vocabulary)
    return Tokens(random.integers(least, most, offsets[-1]), offsets)


def offsets_of(lengths: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where sequences that lie end to end start, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


#: The trial of a transformer.
FIRST_BLOCK = Trial(_first_block, _random_tokens)
