"""The whole network of a bundle: two encoders and the head."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from virnucpro.bundles.manifest import DNA_FILE, HEAD_FILE, PROTEIN_FILE, Manifest
from virnucpro.bundles.store import Bundle
from virnucpro.classify.head import Head
from virnucpro.encoders import (
    DnabertS,
    DnabertSConfig,
    Esm2,
    Esm2Config,
    Tokens,
    encode_means,
)
from virnucpro.encoders.packed import load_packed
from virnucpro.encoders.precision import speed_up
from virnucpro.encoders.six_frames import SixFrames, SixFramesConfig

#: Part of the network -> its file in a bundle.
PARTS = {"protein_encoder": PROTEIN_FILE, "dna_encoder": DNA_FILE, "head": HEAD_FILE}


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the three networks of a bundle.

    Attributes:
        protein: the ESM-2, or the network that reads six frames.
        dna: the DNABERT-S; none where six frames are read.
        head_hidden: width of the head's hidden layer.
    """

    protein: Esm2Config | SixFramesConfig
    dna: DnabertSConfig | None
    head_hidden: int


class FrameClassifier(nn.Module):
    """Scores open frames."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        protein = config.protein
        self.protein_encoder = (
            SixFrames(protein) if isinstance(protein, SixFramesConfig) else Esm2(protein)
        )
        self.dna_encoder = None if config.dna is None else DnabertS(config.dna)
        dna_width = 0 if config.dna is None else config.dna.width
        self.head = Head(dna_width + config.protein.width, config.head_hidden)

    def forward(self, protein_SD: Tensor, dna_SD: Tensor) -> Tensor:
        """Return P(other) and P(virus) of each frame from its embeddings, shape (S, 2), fp32."""
        return torch.softmax(self.head(torch.cat([dna_SD, protein_SD], dim=1)), dim=1)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
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
        """Return dna_SD on the device, fp32; D is 0 where there is no DNA encoder."""
        encoder, device = self.dna_encoder, self.device
        if encoder is None:
            return torch.empty(len(tokens.lengths), 0, device=device)
        width = encoder.config.width
        return encode_means(encoder, width, tokens, token_budget, device, on_out_of_memory)

    def speed_up(self, precision: str) -> list[str]:
        """Give the encoders the fastest steps that are right on this device.

        Returns:
            what was chosen and why, a line for each encoder, or one where they are alike.
        """
        protein = speed_up(self.protein_encoder, precision)
        dna = protein if self.dna_encoder is None else speed_up(self.dna_encoder, precision)
        if protein == dna:
            return [f"encoders: {protein}"]
        return [f"protein encoder: {protein}", f"DNA encoder: {dna}"]


def config_of(manifest: Manifest) -> ClassifierConfig:
    """Return the sizes that a bundle's manifest describes."""
    dna = manifest.dna_encoder
    return ClassifierConfig(
        manifest.protein_encoder.config(),
        None if dna is None else dna.config(),
        manifest.head.hidden,
    )


def load_classifier(
    bundle: Bundle, device: torch.device, dtype: torch.dtype, bits: int | None = None
) -> FrameClassifier:
    """Build a bundle's network with its encoders in `dtype` and its head in fp32.

    Args:
        bundle: the files.
        device: where to.
        dtype: of the encoders' weights and activations.
        bits: 8 or 4 to pack the blocks of the protein encoder as they are read, so that no more
            than one of them is ever on the device in `dtype`.

    Raises:
        BundleError: when the weights are not those that the manifest describes.
    """
    with torch.device("meta"):
        model = FrameClassifier(config_of(bundle.manifest))
    for part, file in PARTS.items():
        if file not in bundle.manifest.files:
            continue
        network = model.get_submodule(part)
        kept = torch.float32 if part == "head" else dtype
        read = partial(bundle.tensors, file, network.state_dict(), device, kept)
        if bits is not None and isinstance(network, Esm2):
            model.protein_encoder = load_packed(read, network.config, bits)
        else:
            network.load_state_dict(read(), assign=True)
    return model.eval().requires_grad_(requires_grad=False)
