"""Published outputs of the networks, for `virnucpro models verify`; README.md has the sources."""

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
#: Largest size of `reference.json` in bytes.
_LONGEST = 1 << 22


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the parts of `reference.json`."""


class KnownEncoder(_Part, frozen=True):
    """An encoder with known outputs; its sizes identify it.

    Attributes:
        name: its published name.
        kind: what it reads.
        layers: its number of layers.
        width: its width.
    """

    name: str
    kind: Kind
    layers: int
    width: int


class Proteins(_Part, frozen=True):
    """Proteins with known hidden states of every token, computed in bf16.

    Attributes:
        encoders: names of the encoders with these outputs.
        sequences: residues of each protein.
    """

    encoders: list[str]
    sequences: list[str]


class Frame(_Part, frozen=True):
    """An open frame and the result of the original program.

    Attributes:
        id: name of the frame in the original's output.
        dna: its nucleotides.
        protein: its residues.
        call: call of the original.
        p_virus: score of the original.
    """

    id: str
    dna: str
    protein: str
    call: Literal["virus", "other"]
    p_virus: float


class Frames(_Part, frozen=True):
    """Frames with known means and scores, computed in fp32.

    Attributes:
        protein: name of the ESM-2.
        dna: name of the DNABERT-S.
        head: file name of the head.
        chunk_length: chunk length in bases that the head was trained for.
        frames: the frames.
    """

    protein: str
    dna: str
    head: str
    chunk_length: int
    frames: list[Frame]

    def texts(self, kind: Kind) -> list[str]:
        """Return the sequence of each frame that an encoder of this kind reads."""
        return [frame.protein if kind == "protein" else frame.dna for frame in self.frames]


class Content(_Part, frozen=True):
    """The content of `reference.json`.

    Attributes:
        format: version of this format.
        encoders: the encoders with known outputs.
        proteins: proteins with known hidden states.
        frames: frames with known means and scores.
    """

    format: int
    encoders: list[KnownEncoder]
    proteins: Proteins
    frames: Frames


@dataclass(frozen=True)
class Reference:
    """Known outputs of the published networks.

    Attributes:
        content: names, sizes, sequences and scores.
        tensors: tensors of `reference.safetensors`, fp32.
    """

    content: Content
    tensors: dict[str, Tensor]

    def encoder_of(self, kind: Kind, layers: int, width: int) -> str | None:
        """Return the name of the encoder with these sizes, or None if none has them."""
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
        """Return (S, D), the mean of each frame as the original computed it."""
        return self.tensors[f"{encoder}.means"]


def read_reference(directory: Path = PACKAGED) -> Reference:
    """Read a directory of this format.

    Raises:
        SettingsError: the directory holds no valid reference.
    """
    with reading(directory, "install virnucpro again", SettingsError):
        content = msgspec.json.decode(
            read_short(directory / REFERENCE_FILE, _LONGEST), type=Content
        )
        if content.format != FORMAT:
            raise msgspec.ValidationError(f"format {content.format}, not {FORMAT}")
        check_header(directory / TENSORS_FILE)
        return Reference(content, load_file(directory / TENSORS_FILE))
