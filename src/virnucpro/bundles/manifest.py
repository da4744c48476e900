"""`bundle.json`: what a bundle, or a lone encoder, holds (docs/bundles.md)."""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import msgspec

from virnucpro.encoders.network import EncoderConfig, TransformerConfig, Width
from virnucpro.encoders.table import configs_reading, spec_of
from virnucpro.errors import BundleError, SettingsError, reading
from virnucpro.sequences.chunking import LONGEST_CHUNK, SHORTEST_CHUNK
from virnucpro.sequences.frames import FrameKind

FORMAT = 1
MANIFEST_FILE = "bundle.json"
PROTEIN_FILE = "protein_encoder.safetensors"
DNA_FILE = "dna_encoder.safetensors"
HEAD_FILE = "head.safetensors"
TOKENIZER_FILE = "dna_tokenizer.json"
Kind = Literal["protein", "dna"]
#: Kind of an encoder -> the files it needs, its weights first.
ENCODER_FILES: dict[Kind, tuple[str, ...]] = {
    "protein": (PROTEIN_FILE,),
    "dna": (DNA_FILE, TOKENIZER_FILE),
}

if TYPE_CHECKING:
    ProteinConfig = EncoderConfig
    DnaConfig = TransformerConfig
    LoneConfig = TransformerConfig
else:
    ProteinConfig = configs_reading("protein", "frames")
    DnaConfig = configs_reading("dna")
    LoneConfig = configs_reading("protein", "dna")

_Length = Annotated[int, msgspec.Meta(ge=SHORTEST_CHUNK, le=LONGEST_CHUNK)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Probability = Annotated[float, msgspec.Meta(gt=0, lt=1)]
_Knots = msgspec.Meta(min_length=2, max_length=200)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in the manifest: immutable, and without unknown fields."""


class HeadSize(Part, frozen=True, kw_only=True):
    """Size of the head.

    Attributes:
        hidden: width of its hidden layer.
    """

    hidden: Width


class Thresholds(Part, frozen=True, kw_only=True):
    """When a record is called.

    Attributes:
        virus: a record is virus above this probability, or p_virus where there is no calibration.
    """

    virus: _Share


class CalibrationLine(Part, frozen=True, kw_only=True):
    """A rising line from the p_virus of a record to the probability that it is viral.

    Attributes:
        chunks: minimum number of scored chunks of a record.
        bases: minimum mean length of these chunks in bases. If a record reaches the minima of
            several lines, the line with most chunks applies, and among these the one with most
            bases.
        scores: p_virus of each knot, rising from 0 to 1.
        probabilities: P(virus) at each knot, rising.
    """

    chunks: Width
    bases: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_CHUNK)] = 0
    scores: Annotated[tuple[_Share, ...], _Knots]
    probabilities: Annotated[tuple[_Probability, ...], _Knots]

    def __post_init__(self) -> None:
        """Refuse a line that does not rise all the way from score 0 to score 1.

        Raises:
            ValueError: as msgspec expects it.
        """
        if len(self.scores) != len(self.probabilities):
            raise ValueError("a line of a calibration has as many probabilities as scores")
        if (self.scores[0], self.scores[-1]) != (0, 1):
            raise ValueError("the scores of a calibration go from 0 to 1")
        if not (_rise(self.scores) and _rise(self.probabilities)):
            raise ValueError("scores and probabilities of a calibration rise at each knot")


class Calibration(Part, frozen=True, kw_only=True):
    """Probabilities for scores, by the number and mean length of a record's scored chunks.

    Attributes:
        lines: lines in rising order of minima: the first is for records with one scored chunk, the
            next ones for more chunks or bases.
        prevalence: share of viruses among the scored records that the probabilities are for.
        chunk_length: chunk length in bases of the records it was fitted on.
        frames: how frames were drawn from a chunk.
        data: description of the data and of the fit.
        metrics: measurements on data that was not used in the fit.
    """

    lines: Annotated[tuple[CalibrationLine, ...], msgspec.Meta(min_length=1, max_length=20)]
    prevalence: _Probability
    chunk_length: _Length
    frames: FrameKind
    data: _Text
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        """Refuse lines that leave out a number of chunks.

        Raises:
            ValueError: as msgspec expects it.
        """
        firsts = [(line.chunks, line.bases) for line in self.lines]
        if firsts[0] != (1, 0) or firsts != sorted(set(firsts)):
            raise ValueError("the lines of a calibration are for 1 chunk, then for more and more")


def _rise(numbers: Sequence[float]) -> bool:
    return all(before < after for before, after in pairwise(numbers))


class File(Part, frozen=True, kw_only=True):
    """One file of the bundle."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, msgspec.Meta(ge=0)]


class Manifest(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The content of a bundle's `bundle.json`.

    Attributes:
        format: version of this format.
        name: name of the bundle.
        version: version of the bundle.
        protein_encoder: sizes of the protein encoder, or of a network that reads six frames.
        dna_encoder: sizes of the DNA encoder; None if six frames are read.
        head: size of the head.
        frames: how frames are drawn from a chunk; see `sequences.frames.FrameKind`.
        least_residues: minimum number of residues of a stretch or of a whole frame.
        chunk_lengths: chunk lengths in bases it was trained for, the default first.
        thresholds: thresholds of the calls.
        provenance: origin of weights, data and licence.
        metrics: name of a data set -> measurements on it.
        files: digest and size of every file.
        calibration: probabilities for its scores; None if none was fitted.
    """

    format: int
    name: _Word
    version: _Word
    protein_encoder: ProteinConfig
    dna_encoder: DnaConfig | None = None
    head: HeadSize
    frames: FrameKind
    least_residues: Width = 1
    chunk_lengths: Annotated[tuple[_Length, ...], msgspec.Meta(min_length=1)]
    thresholds: Thresholds
    provenance: dict[str, str]
    metrics: dict[str, dict[str, float]]
    files: dict[str, File]
    calibration: Calibration | None = None

    @property
    def encoders(self) -> dict[Kind, EncoderConfig]:
        """Sizes of the encoders."""
        found: dict[Kind, EncoderConfig] = {"protein": self.protein_encoder}
        return found if self.dna_encoder is None else {**found, "dna": self.dna_encoder}

    @property
    def file_names(self) -> list[str]:
        """Names of all its files except the manifest; it cannot name any other."""
        return [file for kind in self.encoders for file in ENCODER_FILES[kind]] + [HEAD_FILE]

    @property
    def width(self) -> int:
        """Number of values per frame that the encoders return and the head reads."""
        return sum(encoder.width for encoder in self.encoders.values())

    def drawn(self, asked: str | None) -> FrameKind:
        """Return how frames are drawn: as the user asked, or as the manifest says.

        Raises:
            SettingsError: the kind of frames is unknown, or the networks cannot read them.
        """
        kind = asked or self.frames
        if kind not in get_args(FrameKind):
            raise SettingsError(f"--frames {kind}: give {', '.join(get_args(FrameKind))}")
        if "all" in (kind, self.frames) and kind != self.frames:
            raise SettingsError(
                f"--frames {kind}: {self.name} was made for {self.frames} frames; leave it out"
            )
        return cast("FrameKind", kind)

    def lone(self, kind: Kind) -> "EncoderManifest":
        """Return the manifest of one encoder alone.

        Raises:
            BundleError: the bundle has no encoder of this kind.
        """
        encoder = self.encoders.get(kind)
        if encoder is None or spec_of(encoder).reads != kind:
            raise BundleError(
                f"{self.name}: reads all frames with one network and has no {kind} encoder; "
                f"give another model, as compact-pair:{kind}"
            )
        label = spec_of(encoder).title
        return EncoderManifest(
            format=self.format,
            name=self.name,
            version=self.version,
            encoder=cast("TransformerConfig", encoder),
            provenance={label: self.provenance.get(label, f"of {self.name} {self.version}")},
            files={name: self.files[name] for name in ENCODER_FILES[kind]},
        )


class EncoderManifest(Part, frozen=True, kw_only=True):
    """Everything a lone encoder says of itself.

    Attributes:
        format: version of this format.
        name: what the encoder is called.
        version: which one of that name.
        encoder: its sizes.
        provenance: where its weights come from.
        files: digest and size of every file.
    """

    format: int
    name: _Word
    version: _Word
    encoder: LoneConfig
    provenance: dict[str, str]
    files: dict[str, File]

    @property
    def kind(self) -> Kind:
        """Kind of the encoder: what it reads."""
        return cast("Kind", spec_of(self.encoder).reads)

    @property
    def source_files(self) -> str:
        """Provenance of the weights: the files they come from."""
        return self.provenance[spec_of(self.encoder).title]


class _Outline(msgspec.Struct):
    """The fields that tell formats, and the two kinds of manifest, apart."""

    format: int
    encoder: Any = None


def parse_manifest(content: bytes, where: str) -> Manifest | EncoderManifest:
    """Parse and check `bundle.json`; the manifest of a separate encoder has the key `encoder`.

    Raises:
        BundleError: the content is no manifest, has another format, or is inconsistent.
    """
    with reading(where, "get the bundle again", BundleError):
        outline = msgspec.json.decode(content, type=_Outline)
        if outline.format != FORMAT:
            raise BundleError(
                f"{where}: bundle format {outline.format} where this version reads format "
                f"{FORMAT}; get another bundle, or a virnucpro that reads it"
            )
        if outline.encoder is not None:
            return _checked_encoder(msgspec.json.decode(content, type=EncoderManifest), where)
        return _checked_bundle(msgspec.json.decode(content, type=Manifest), where)


def _checked_bundle(manifest: Manifest, where: str) -> Manifest:
    _check_files(manifest.files, manifest.file_names, where)
    for encoder in manifest.encoders.values():
        _check_heads(encoder, where)
    reads_all, is_alone = manifest.frames == "all", manifest.dna_encoder is None
    is_six_frames = spec_of(manifest.protein_encoder).reads == "frames"
    if not reads_all == is_alone == is_six_frames:
        raise BundleError(
            f"{where}: frames {manifest.frames} do not fit its encoders; get the bundle again"
        )
    return manifest


def _checked_encoder(manifest: EncoderManifest, where: str) -> EncoderManifest:
    _check_files(manifest.files, ENCODER_FILES[manifest.kind], where)
    if spec_of(manifest.encoder).title not in manifest.provenance:
        raise BundleError(f"{where}: does not say where its weights come from; get it again")
    _check_heads(manifest.encoder, where)
    return manifest


def _check_files(found: Collection[str], needed: Collection[str], where: str) -> None:
    if set(found) != set(needed):
        raise BundleError(
            f"{where}: must list exactly the files {', '.join(needed)}; get the bundle again"
        )


def _check_heads(encoder: EncoderConfig, where: str) -> None:
    if fault := encoder.fault():
        raise BundleError(f"{where}: {fault}; get the bundle again")
