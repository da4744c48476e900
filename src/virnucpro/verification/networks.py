"""The networks of a bundle, or one encoder, on a device as `predict` and `embed` compute them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from virnucpro.bundles import Bundle, Model
from virnucpro.bundles.loading import load_encoder, load_tokenizer
from virnucpro.bundles.manifest import Kind
from virnucpro.bundles.settle import settle
from virnucpro.classify import FrameClassifier, load_classifier
from virnucpro.encoders import Network, Tokens, encode, encode_means
from virnucpro.encoders.precision import stored_bits
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.table import memory_of
from virnucpro.errors import SettingsError
from virnucpro.runs.devices import Budgets, Device, Settled


@dataclass(frozen=True)
class Networks:
    """Networks on a device.

    Attributes:
        device: where, and in which precision.
        budgets: most tokens of a forward pass.
        encoders: both of a bundle, or one.
        tokenizers: of each encoder.
        classifier: of a bundle, with its head in fp32.
        notes: how the encoders are computed, and why nothing faster.
    """

    device: Device
    budgets: Budgets
    encoders: Mapping[Kind, Network]
    tokenizers: Mapping[Kind, Callable[[Sequence[str]], Tokens]]
    classifier: FrameClassifier | None
    notes: Sequence[str]

    def tokens(self, kind: Kind, texts: Sequence[str]) -> Tokens:
        """Return the tokens of proteins or DNA."""
        return self.tokenizers[kind](texts)

    def means(self, kind: Kind, tokens: Tokens) -> Tensor:
        """Return the mean of each sequence as VirNucPro takes it, (S, D), fp32."""
        network = self.encoders[kind]
        return encode_means(
            network, network.config.width, tokens, self._budget(kind), self.device.device
        )

    def hidden_states(self, kind: Kind, tokens: Tokens) -> Tensor:
        """Return the last hidden state of every token, (T, D), fp32."""
        network = self.encoders[kind]
        found = encode(
            lambda pack: network(pack)[: pack.used].float(),
            tokens,
            self._budget(kind),
            self.device.device,
            rows_S=tokens.lengths,
        )
        return torch.empty(0, network.config.width) if found is None else found

    def _budget(self, kind: Kind) -> int:
        return self.budgets.dna if kind == "dna" else self.budgets.protein


def load_networks(found: Bundle | Model, device: str, precision: str) -> Networks:
    """Load networks onto a device and give them their fastest steps.

    Args:
        found: the files.
        device: name of the device; see `choose_device`.
        precision: a key of `DTYPES`.

    Raises:
        BundleError: the weights are not those that the manifest describes.
        SettingsError: they do not fit the memory, or no step is right on this device.
        torch.OutOfMemoryError: they do not fit what is free of it.
    """
    settled = _settled(found, device, precision)
    here = settled.device
    bits = stored_bits(precision, here.device)
    if isinstance(found, Bundle):
        whole = load_classifier(found, here.device, here.dtype, bits)
        notes = whole.speed_up(precision)
        encoders: dict[Kind, Network] = {"protein": whole.protein_encoder}
        if whole.dna_encoder is not None:
            encoders["dna"] = whole.dna_encoder
    else:
        whole = None
        encoders = {found.kind: load_encoder(found.stored, here.device, here.dtype, bits=bits)}
        notes = [f"encoder: {speed_up(encoders[found.kind], precision)}"]
    tokenizers = {kind: load_tokenizer(found, kind) for kind in encoders}
    return Networks(here, settled.budgets, encoders, tokenizers, whole, notes)


def _settled(found: Bundle | Model, device: str, precision: str) -> Settled:
    """Choose how much is computed at a time, if the weights fit the memory."""
    settled = settle(device, precision, found)
    if settled.device.device.type == "cpu":
        loaded = "fp32" if precision == "int8" else precision
        needed = sum(memory_of(encoder.config, loaded) for encoder in found.encoders.values())
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > total:
            raise SettingsError(
                f"{needed / 2**30:.1f} GiB are needed in {precision}, this machine has "
                f"{total / 2**30:.1f}; use a larger one"
            )
    return settled
