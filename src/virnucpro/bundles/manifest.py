"""`bundle.json`: what a bundle holds (docs/bundles.md)."""

from typing import Annotated, Literal

import msgspec

from virnucpro.encoders import DnabertSConfig, Esm2Config
from virnucpro.errors import BundleError

FORMAT = 1
MANIFEST_FILE = "bundle.json"
PROTEIN_FILE = "protein_encoder.safetensors"
DNA_FILE = "dna_encoder.safetensors"
HEAD_FILE = "head.safetensors"
TOKENIZER_FILE = "dna_tokenizer.json"
#: Every file a bundle holds beside its manifest; a manifest can name no other.
FILES = (PROTEIN_FILE, DNA_FILE, HEAD_FILE, TOKENIZER_FILE)

_Layers = Annotated[int, msgspec.Meta(ge=1, le=512)]
_Width = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
_Length = Annotated[int, msgspec.Meta(ge=3, le=1_000_000)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in the manifest: immutable, and nothing unknown is let in."""


class ProteinEncoder(_Part, frozen=True, kw_only=True):
    """Sizes of the ESM-2."""

    architecture: Literal["esm2"] = "esm2"
    layers: _Layers
    width: _Width
    heads: _Width
    vocabulary: _Width

    def config(self) -> Esm2Config:
        """Return the sizes as the network takes them."""
        return Esm2Config(self.layers, self.width, self.heads, self.vocabulary)


class DnaEncoder(_Part, frozen=True, kw_only=True):
    """Sizes of the DNABERT-S."""

    architecture: Literal["dnabert_s"] = "dnabert_s"
    layers: _Layers
    width: _Width
    heads: _Width
    feed_forward: _Width
    vocabulary: _Width

    def config(self) -> DnabertSConfig:
        """Return the sizes as the network takes them."""
        return DnabertSConfig(
            self.layers, self.width, self.heads, self.feed_forward, self.vocabulary
        )


class HeadSize(_Part, frozen=True, kw_only=True):
    """Size of the head."""

    hidden: _Width


class Thresholds(_Part, frozen=True, kw_only=True):
    """When a record is called.

    Attributes:
        virus: a record is virus above this p_virus.
    """

    virus: _Share


class File(_Part, frozen=True, kw_only=True):
    """One file of the bundle."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, msgspec.Meta(ge=0)]


class Manifest(_Part, frozen=True, kw_only=True):
    """Everything a bundle says of itself.

    Attributes:
        format: version of this format.
        name: what the bundle is called.
        version: which one of that name.
        protein_encoder: sizes of the ESM-2.
        dna_encoder: sizes of the DNABERT-S.
        head: size of the head.
        frames: how frames are drawn; `open` keeps those without a stop.
        chunk_lengths: chunk lengths in bases it was trained for, the default first.
        thresholds: when a record is called.
        provenance: where weights, data and licence come from.
        metrics: what was measured, on what.
        files: digest and size of every file.
    """

    format: int
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    protein_encoder: ProteinEncoder
    dna_encoder: DnaEncoder
    head: HeadSize
    frames: Literal["open"]
    chunk_lengths: Annotated[tuple[_Length, ...], msgspec.Meta(min_length=1)]
    thresholds: Thresholds
    provenance: dict[str, str]
    metrics: dict[str, dict[str, float]]
    files: dict[str, File]


class _FormatOnly(msgspec.Struct):
    format: int


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Parse and check `bundle.json`.

    Raises:
        BundleError: when it is no manifest, of another format, or inconsistent.
    """
    try:
        if (found := msgspec.json.decode(content, type=_FormatOnly).format) != FORMAT:
            raise BundleError(
                f"{where}: bundle format {found} where this version reads format {FORMAT}; "
                "get another bundle, or a virnucpro that reads it"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"{where}: not a bundle manifest ({error}); get the bundle anew"
        ) from error
    if set(manifest.files) != set(FILES):
        raise BundleError(
            f"{where}: must list exactly the files {', '.join(FILES)}; get the bundle anew"
        )
    for encoder in (manifest.protein_encoder, manifest.dna_encoder):
        if encoder.width % (2 * encoder.heads):
            raise BundleError(
                f"{where}: width {encoder.width} does not fit {encoder.heads} heads; "
                "get the bundle anew"
            )
    return manifest
