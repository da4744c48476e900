"""What all networks have in common: sizes, blocks, and how the rest of the program uses them."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

import msgspec
import torch
from torch import Tensor, nn

from virnucpro.encoders.packing import Pack
from virnucpro.encoders.steps.plain import PlainSteps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virnucpro.encoders.steps import Steps

Layers = Annotated[int, msgspec.Meta(ge=1, le=512)]
Width = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


class EncoderConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="architecture"
):
    """Sizes of a network, both in the program and in `bundle.json`.

    The tag of a subclass names its architecture.
    """

    @property
    @abstractmethod
    def layers(self) -> int:
        """Number of transformer blocks."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers that the network returns for each token."""

    @property
    @abstractmethod
    def head_width(self) -> int:
        """A, columns of an attention head."""

    @abstractmethod
    def fault(self) -> str:
        """Return which sizes do not fit together, or an empty string if all do."""


class TransformerConfig(EncoderConfig, frozen=True):
    """Sizes of one transformer.

    Attributes:
        layers: number of blocks.
        width: D.
        heads: H; D / H must be even.
    """

    layers: Layers
    width: Width
    heads: Width

    @property
    def vocabulary(self) -> int:
        """V."""
        raise NotImplementedError

    @property
    def head_width(self) -> int:
        """A, columns of an attention head."""
        return self.width // self.heads

    def fault(self) -> str:
        """Return which sizes do not fit together, or an empty string if all do."""
        if self.width % (2 * self.heads):
            return f"width {self.width} does not fit {self.heads} heads"
        return ""


class Block(nn.Module):
    """One block of a transformer."""

    def ready(self) -> Self:
        """Return the block to compute: this one. A packed block returns another."""
        return self


class Network(nn.Module):
    """A network that turns the tokens of a pack into hidden states."""

    config: EncoderConfig

    @property
    def parts(self) -> "Mapping[str, Transformer]":
        """The transformers that the network consists of, by name."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        part = next(iter(self.parts.values()))
        return cast("torch.device", part.embedding.weight.device)

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32, one mean hidden state for each sequence."""
        raise NotImplementedError


class Transformer(Network):
    """A network of equal blocks; a subclass adds `blocks` and `norm`.

    Attributes:
        config: sizes.
        steps: how the steps of a block are computed.
        embedding: one vector for each token of the vocabulary.
        blocks: the blocks, each a `Block`.
        norm: the LayerNorm before or behind the blocks.
        is_whole: whether the last block is that of the whole network. A LayerNorm behind the blocks
            follows only that block.
        trim: special tokens at each end of a sequence that its mean leaves out.
    """

    config: TransformerConfig
    blocks: nn.ModuleList
    norm: nn.LayerNorm
    trim: ClassVar[int]

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.steps: Steps[Any] = PlainSteps()
        self.is_whole = True
        # Drawn as nn.Embedding does; drawing on the meta device would load PyTorch's compiler.
        embedding = torch.empty(config.vocabulary, config.width)
        if not embedding.is_meta:
            embedding.normal_()
        self.embedding = nn.Embedding.from_pretrained(embedding, freeze=False)

    @property
    def parts(self) -> "Mapping[str, Transformer]":
        """The network itself."""
        return {"": self}

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32, without `trim` tokens at both ends of each sequence."""
        return self.steps.mean_pool(self(pack), pack, trim=self.trim)

    def cut(self, layers: int) -> None:
        """Keep the first blocks only."""
        self.is_whole = self.is_whole and layers == self.config.layers
        self.blocks = self.blocks[:layers]
        self.config = msgspec.structs.replace(self.config, layers=layers)
