"""Sizes of a bundle's networks, as `bundle.json` says them."""

from typing import Annotated

import msgspec

from virnucpro.encoders import DnabertSConfig, Esm2Config
from virnucpro.encoders.six_frames import SixFramesConfig

Layers = Annotated[int, msgspec.Meta(ge=1, le=512)]
Width = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in the manifest: immutable, and nothing unknown is let in."""


class ProteinEncoder(Part, frozen=True, kw_only=True, tag_field="architecture", tag="esm2"):
    """Sizes of the ESM-2."""

    layers: Layers
    width: Width
    heads: Width
    vocabulary: Width

    def config(self) -> Esm2Config:
        """Return the sizes as the network takes them."""
        return Esm2Config(self.layers, self.width, self.heads, self.vocabulary)


class SixFramesEncoder(Part, frozen=True, kw_only=True, tag_field="architecture", tag="six_frames"):
    """Sizes of a network that reads six frames at once; see `SixFramesConfig`."""

    frame_layers: Layers
    frame_width: Width
    layers: Layers
    width: Width
    head_width: Width

    def config(self) -> SixFramesConfig:
        """Return the sizes as the network takes them."""
        return SixFramesConfig(
            self.frame_layers, self.frame_width, self.layers, self.width, self.head_width
        )


class DnaEncoder(Part, frozen=True, kw_only=True, tag_field="architecture", tag="dnabert_s"):
    """Sizes of the DNABERT-S."""

    layers: Layers
    width: Width
    heads: Width
    feed_forward: Width
    vocabulary: Width

    def config(self) -> DnabertSConfig:
        """Return the sizes as the network takes them."""
        return DnabertSConfig(
            self.layers, self.width, self.heads, self.feed_forward, self.vocabulary
        )


BundleEncoder = ProteinEncoder | SixFramesEncoder | DnaEncoder


class HeadSize(Part, frozen=True, kw_only=True):
    """Size of the head."""

    hidden: Width
