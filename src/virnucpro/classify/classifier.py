"""The whole network of a bundle: the encoders and the head."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from virnucpro.bundles.loading import load_weights
from virnucpro.bundles.manifest import DNA_FILE, HEAD_FILE, PROTEIN_FILE, Manifest
from virnucpro.bundles.store import Bundle
from virnucpro.classify.head import Head
from virnucpro.encoders import EncoderConfig, Network, Tokens, encode_means
from virnucpro.encoders.network import TransformerConfig
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.table import build

#: File in a bundle by the name of the part of the network.
PARTS = {"protein_encoder": PROTEIN_FILE, "dna_encoder": DNA_FILE, "head": HEAD_FILE}


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the three networks of a bundle.

    Attributes:
        protein: protein encoder, or network that reads six frames.
        dna: DNA encoder; None if six frames are read.
        head_hidden: width of the head's hidden layer.
    """

    protein: EncoderConfig
    dna: TransformerConfig | None
    head_hidden: int


class FrameClassifier(nn.Module):
    """Scores open frames."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.protein_encoder = build(config.protein)
        self.dna_encoder = None if config.dna is None else build(config.dna)
        dna_width = 0 if config.dna is None else config.dna.width
        self.head = Head(dna_width + config.protein.width, config.head_hidden)

    def forward(self, protein_SD: Tensor, dna_SD: Tensor) -> Tensor:
        """Return P(other) and P(virus) of frames from their embeddings, shape (S, 2), fp32."""
        return torch.softmax(self.head(torch.cat([dna_SD, protein_SD], dim=1)), dim=1)

    @property
    def device(self) -> torch.device:
        """Device that holds the weights."""
        return self.head.output_layer.weight.device

    def embed_proteins(
        self,
        tokens: Tokens,
        token_budget: int,
        on_out_of_memory: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Return protein_SD on the device, fp32."""
        width = self.config.protein.width
        return encode_means(
            self.protein_encoder, width, tokens, token_budget, self.device, on_out_of_memory
        )

    def embed_dna(
        self,
        tokens: Tokens,
        token_budget: int,
        on_out_of_memory: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Return dna_SD on the device, fp32; D is 0 without a DNA encoder."""
        encoder, device = self.dna_encoder, self.device
        if encoder is None:
            return torch.empty(len(tokens.lengths), 0, device=device)
        width = encoder.config.width
        return encode_means(encoder, width, tokens, token_budget, device, on_out_of_memory)

    def speed_up(self, precision: str) -> list[str]:
        """Let the encoders use the fastest steps that compute correctly on this device.

        Returns:
            the chosen steps with reasons: a line for each encoder, or one line if they are equal.
        """
        protein = speed_up(self.protein_encoder, precision)
        dna = protein if self.dna_encoder is None else speed_up(self.dna_encoder, precision)
        if protein == dna:
            return [f"encoders: {protein}"]
        return [f"protein encoder: {protein}", f"DNA encoder: {dna}"]


def config_of(manifest: Manifest) -> ClassifierConfig:
    """Return the sizes that a bundle's manifest states."""
    return ClassifierConfig(manifest.protein_encoder, manifest.dna_encoder, manifest.head.hidden)


def load_classifier(
    bundle: Bundle, device: torch.device, dtype: torch.dtype, bits: int | None = None
) -> FrameClassifier:
    """Load the network of a bundle with its encoders in `dtype` and its head in fp32.

    Args:
        bundle: the bundle.
        device: target device.
        dtype: type of the encoders' weights and activations.
        bits: 8 or 4 to pack the blocks of the encoders that can be packed.

    Raises:
        BundleError: the weights do not have the sizes in the manifest.
    """
    with torch.device("meta"):
        model = FrameClassifier(config_of(bundle.manifest))
    for kind, stored in bundle.encoders.items():
        network = model.protein_encoder if kind == "protein" else model.dna_encoder
        load_weights(cast("Network", network), stored.weights, device, dtype, bits=bits)
    head = bundle.tensors(HEAD_FILE, model.head.state_dict(), device, torch.float32)
    model.head.load_state_dict(head, assign=True)
    return model.eval().requires_grad_(requires_grad=False)
