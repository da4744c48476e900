"""What the published networks gave (README.md says where from): for `virnucpro models verify`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch
from safetensors.torch import load_file
from torch import Tensor

from virnucpro.bundles.foreign import check_header, read_short
from virnucpro.bundles.manifest import Kind
from virnucpro.encoders.pooling import SPECIAL_TOKENS
from virnucpro.errors import SettingsError, reading

PACKAGED = Path(__file__).parent
REFERENCE_FILE, TENSORS_FILE = "reference.json", "reference.safetensors"
FORMAT = 1
#: Most bytes of `reference.json`.
_LONGEST = 1 << 22


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in `reference.json`."""


class KnownEncoder(_Part, frozen=True):
    """An encoder whose outputs are known; it is recognised by its sizes.

    Attributes:
        name: the published one.
        kind: what it reads.
        layers: of the network.
        width: of the network.
    """

    name: str
    kind: Kind
    layers: int
    width: int


class Proteins(_Part, frozen=True):
    """Sequences of which every token's hidden state is known, as computed in bf16.

    Attributes:
        encoders: names of those that read them.
        sequences: residues of each.
    """

    encoders: list[str]
    sequences: list[str]


class Frame(_Part, frozen=True):
    """An open frame and what the original said of it.

    Attributes:
        id: as the original named it.
        dna: its nucleotides.
        protein: its residues.
        call: the original's.
        p_virus: the original's score.
    """

    id: str
    dna: str
    protein: str
    call: Literal["virus", "other"]
    p_virus: float


class Frames(_Part, frozen=True):
    """Frames whose means and scores are known, as computed in fp32.

    Attributes:
        protein: name of the ESM-2.
        dna: name of the DNABERT-S.
        head: file name of the head.
        chunk_length: bases of a chunk that the head was trained for.
        frames: each of them.
    """

    protein: str
    dna: str
    head: str
    chunk_length: int
    frames: list[Frame]

    def texts(self, kind: Kind) -> list[str]:
        """Return what an encoder reads of each frame."""
        return [frame.protein if kind == "protein" else frame.dna for frame in self.frames]


class Content(_Part, frozen=True):
    """The content of `reference.json`.

    Attributes:
        format: version of this format.
        encoders: those whose outputs are known.
        proteins: with hidden states.
        frames: with means and scores.
    """

    format: int
    encoders: list[KnownEncoder]
    proteins: Proteins
    frames: Frames


@dataclass(frozen=True)
class Reference:
    """What is known of the published networks.

    Attributes:
        content: names, sizes, sequences and scores.
        tensors: those of `reference.safetensors`, fp32.
    """

    content: Content
    tensors: dict[str, Tensor]

    def encoder_of(self, kind: Kind, layers: int, width: int) -> str | None:
        """Return the name of the encoder that has these sizes, None where none has."""
        known = {(x.kind, x.layers, x.width): x.name for x in self.content.encoders}
        return known.get((kind, layers, width))

    def hidden_states(self, encoder: str) -> Tensor:
        """Return (T, D) of the tokens of all proteins end to end, `<cls>` and `<eos>` included."""
        return self.tensors[f"{encoder}.hidden_states"]

    def protein_means(self, encoder: str) -> Tensor:
        """Return (S, D), the mean over the residues of each protein."""
        tokens = [len(sequence) + SPECIAL_TOKENS for sequence in self.content.proteins.sequences]
        parts = self.hidden_states(encoder).split(tokens)
        return torch.stack([part_LD[1:-1].mean(dim=0) for part_LD in parts])

    def frame_means(self, encoder: str) -> Tensor:
        """Return (S, D), the mean of each frame as the original took it."""
        return self.tensors[f"{encoder}.means"]


def read_reference(directory: Path = PACKAGED) -> Reference:
    """Read a directory of this format.

    Raises:
        SettingsError: when it holds none.
    """
    with reading(directory, "install virnucpro again", SettingsError):
        content = msgspec.json.decode(
            read_short(directory / REFERENCE_FILE, _LONGEST), type=Content
        )
        if content.format != FORMAT:
            raise msgspec.ValidationError(f"format {content.format}, not {FORMAT}")
        check_header(directory / TENSORS_FILE)
        return Reference(content, load_file(directory / TENSORS_FILE))
