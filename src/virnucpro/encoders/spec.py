"""Everything that the rest of the program needs to know of an architecture."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virnucpro.encoders.backends import Backend
from virnucpro.encoders.network import EncoderConfig, Network
from virnucpro.encoders.packing import Tokens
from virnucpro.encoders.precision import DTYPES, stored_bits
from virnucpro.encoders.trial import FIRST_BLOCK, Trial

#: Names and tensors of a network.
State = Mapping[str, Tensor]
#: Precisions that not every network has.
_NARROW = DTYPES.keys() - {"fp32", "bf16", "fp16"}


@dataclass(frozen=True)
class Layout:
    """One library's names for the published weights of an architecture.

    Attributes:
        name: name of the library.
        mark: pattern that is found in a tensor name of this layout, and in none of another
            architecture in the table.
        names: pattern that all of each tensor name must match, those of unused tensors included.
        fuse: turns published weights into those of the network. A `KeyError` names a missing
            tensor.
        needs: keys of the library's `config.json` -> the value that the library assumes if the key
            is missing, and the value that the network needs.
    """

    name: str
    mark: re.Pattern[str]
    names: re.Pattern[str]
    fuse: Callable[[State], dict[str, Tensor]]
    needs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def _no_lookalike(_: State, *, has_config: bool) -> str:  # noqa: ARG001
    return ""


def _no_fault(_: State, __: Any) -> str:  # noqa: ANN401
    return ""


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that the rest of the program needs to know of an architecture.

    Attributes:
        title: name of the architecture in messages, and its key in the provenance of a bundle.
        reads: `protein`, `dna`, or `frames` (six frames of DNA at once).
        config: type of its sizes, whose tag is its name in manifests.
        network: builds the network from its sizes.
        backends: ways to compute the network, the fastest first.
        layouts: layouts of published weights.
        tokens: turns letters that lie end to end, and their offsets, into tokens. None if a
            tokenizer file in the bundle defines the tokens.
        trial: how backends are tried.
        packs: whether the weights of its blocks can be stored in 8 or 4 bits (`packed`).
        cpu_precision: precision that `auto` means on a CPU.
        lookalike: returns which other network published weights belong to, or an empty string;
            it is also told whether there is a `config.json`.
        fault: returns what is wrong with published weights apart from names and shapes, or an empty
            string.
    """

    title: str
    reads: Literal["protein", "dna", "frames"]
    config: type[EncoderConfig]
    network: Callable[[Any], Network]
    backends: tuple[Backend, ...]
    layouts: tuple[Layout, ...] = ()
    tokens: Callable[[NDArray[np.uint8], NDArray[np.int64]], Tokens] | None = None
    trial: Trial = FIRST_BLOCK
    packs: bool = False
    cpu_precision: str = "fp32"
    lookalike: Callable[..., str] = _no_lookalike
    fault: Callable[[State, Any], str] = _no_fault

    @property
    def name(self) -> str:
        """Name of the architecture in manifests."""
        return str(self.config.__struct_config__.tag)

    def backends_for(self, precision: str, device: torch.device) -> list[Backend]:
        """Return the backends that compute a precision on a device, the fastest first."""
        if stored_bits(precision, device) is not None:
            if not self.packs:
                return []
            precision = "fp16"
        return [
            backend
            for backend in self.backends
            if backend.device in ("", device.type) and precision in backend.precisions
        ]

    def computed(self, precision: str, device: torch.device) -> str:
        """Return the precision that is computed if the user asks for `precision`.

        A network without an 8-bit or 4-bit precision is computed in fp16 on a GPU, in fp32 on a
        CPU.
        """
        if precision not in _NARROW or self.backends_for(precision, device):
            return precision
        return "fp32" if device.type == "cpu" else "fp16"
