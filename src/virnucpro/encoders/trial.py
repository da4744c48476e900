"""The trial of a way to compute a network, against plain fp32.

It is done on the network's own first block, which also compiles the kernels before the first pack;
a network that reads six frames is small and tried whole.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from virnucpro.encoders.dnabert_s import DnabertS
from virnucpro.encoders.esm2 import Esm2
from virnucpro.encoders.packed import PackedBlock
from virnucpro.encoders.packing import Pack, Tokens, pack_sequences
from virnucpro.encoders.six_frames import WINDOW, SixFrames, window_tokens
from virnucpro.encoders.steps.plain import PlainSteps

Network = Esm2 | DnabertS | SixFrames

#: Sequences of the trial: every kernel, and lengths at the borders of its tiles.
_TRIAL_LENGTHS = (3, 33, 64, 65, 128, 170, 256, 300, 1100)
#: The same in windows of six frames.
_TRIAL_WINDOWS = (1, 3, 9, 28, 65)
#: Largest relative error of the trial that is rounding.
_ROUNDING = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.1, "fp8": 0.3, "int8": 0.02, "int4": 0.02}


class Way(NamedTuple):
    """One way to compute.

    Attributes:
        name: in words.
        prepare: changes a network's weights as the steps need them, and gives it the steps.
        rounding: largest relative error of its trial; by default that of the precision.
    """

    name: str
    prepare: Callable[[Any], None]
    rounding: float | None = None


def device_of(network: Network) -> torch.device:
    """Return where a network is."""
    part = network.frames if isinstance(network, SixFrames) else network
    found: torch.device = part.embedding.weight.device
    return found


@torch.inference_mode()
def fault_of(network: Network, way: Way, precision: str) -> str:
    """Try a way on the first block; return what is wrong with it, empty if nothing."""
    try:
        probe, pack = _first_block(network), _trial_pack(network)
        expected = _plain(probe)(pack)[: pack.used]
        way.prepare(probe)
        found = probe(pack)[: pack.used].float()
        means = probe.embed(pack)
    except Exception as error:  # noqa: BLE001 (whatever a compiler or a driver may raise)
        said = str(error).strip().splitlines()
        return ": ".join([type(error).__name__, *said[:1]])[:200]
    if not bool(torch.isfinite(means).all()):
        return "its result is not finite"
    away = float((found - expected).norm() / expected.norm())
    allowed = _ROUNDING[precision] if way.rounding is None else way.rounding
    return "" if away <= allowed else f"its result is off by {away:.2g}"


def _plain(network: Network) -> Network:
    """Copy a network into plain fp32."""
    exact = copy.deepcopy(network).float()
    for part in (exact.frames, exact.windows) if isinstance(exact, SixFrames) else (exact,):
        part.steps = PlainSteps()
    return exact


def _first_block(network: Network) -> Network:
    """Copy a network with its first block alone, expanded where it is packed, or a small one."""
    if isinstance(network, SixFrames):
        return copy.deepcopy(network)
    config = dataclasses.replace(network.config, layers=1)
    with torch.device("meta"):
        probe = type(network)(config)  # type: ignore[arg-type]
    state, first = network.state_dict(), network.blocks[0]
    if isinstance(first, PackedBlock):
        state |= {f"blocks.0.{k}": t for k, t in first.ready().state_dict().items()}
    state = {k: t for k, t in state.items() if k in probe.state_dict()}
    probe.load_state_dict({k: t.clone() for k, t in state.items()}, assign=True)
    return probe.eval().requires_grad_(requires_grad=False)


def _trial_pack(network: Network) -> Pack:
    random = np.random.default_rng(0)
    lengths = _TRIAL_WINDOWS if isinstance(network, SixFrames) else _TRIAL_LENGTHS
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if isinstance(network, SixFrames):
        ends = WINDOW * offsets
        letters_N = random.choice(np.frombuffer(b"ACGT", np.uint8), ends[-1])
        tokens = window_tokens(letters_N, ends[:-1], ends[1:])
    else:
        vocabulary = network.config.vocabulary
        least, most = min(4, vocabulary - 1), min(24, vocabulary)
        tokens = Tokens(random.integers(least, most, offsets[-1]), offsets)
    pack = pack_sequences(tokens, np.arange(len(lengths)), multiple_of=16)
    return pack.to(device_of(network))
