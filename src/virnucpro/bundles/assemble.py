"""Bundles, and lone encoders, from the files in which they are published."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from virnucpro.bundles import manifest as layout
from virnucpro.bundles.bundle_files import Content, Linked, check_sizes, read_manifest
from virnucpro.bundles.convert import convert_head
from virnucpro.bundles.manifest import Calibration, EncoderManifest, Manifest, Thresholds
from virnucpro.bundles.published_parts import (
    HEAD,
    Part,
    all_three,
    chunk_length_of,
    identify,
    read_encoder,
    read_head,
)
from virnucpro.bundles.registry import ENCODERS, PUBLISHED, git_blob_id, sha256_of
from virnucpro.bundles.store import (
    DERIVED,
    EMBEDDED,
    Bundle,
    check_name,
    load_bundle,
    write_directory,
)
from virnucpro.bundles.stored_encoder import Model, find_encoder, load_model
from virnucpro.encoders.spec import EncoderSpec
from virnucpro.encoders.table import spec_named, spec_of
from virnucpro.errors import BundleError, reading
from virnucpro.files import home, stores
from virnucpro.sequences.chunking import check_chunk_length

#: What the name of a bundle ends with to which a calibration was given.
_CALIBRATED = "+calibration"
#: Bases of a chunk, unless `train --chunk-length` says otherwise.
_USUAL_CHUNK = 500


def add_bundle(
    name: str, files: Sequence[str | os.PathLike[str]], chunk_length: int | None = None
) -> Bundle:
    """Make a bundle of published files and store it under its name.

    Args:
        name: what to call it; `predict --bundle` takes it then. A published name needs the
            published head.
        files: in any order, an ESM-2 (a file or a directory in Hugging Face's layout, or
            fair-esm's .pt), a DNABERT-S (its directory), and a head (`500_model.pth`); an encoder
            that was added will do by its name or directory, and is linked.
        chunk_length: bases of a chunk that the head was trained for; known of published names.

    Raises:
        BundleError: a part is missing, given twice or damaged, or the parts do not fit together.
        SettingsError: the chunk length is out of bounds.
    """
    place = _free_place(name)
    if name in ENCODERS:
        raise BundleError(f"{name}: the name of an encoder; give the bundle another")
    published = PUBLISHED.get(name)
    chunk_length = chunk_length or (published.chunk_length if published else None)
    if chunk_length is None:
        raise BundleError(f"{name}: the chunk length of its head is unknown; give --chunk-length")
    check_chunk_length(chunk_length)
    *encoders, given_head = all_three(files)
    _check_published_head(name, given_head.path)
    head = read_head(given_head)
    expected = (ENCODERS[published.protein], ENCODERS[published.dna]) if published else (None, None)
    protein, dna = map(read_encoder, encoders, expected)
    _check_width(head, [protein.width, dna.width])
    description = Manifest(
        format=layout.FORMAT, name=name, version="1", protein_encoder=protein.sizes,
        dna_encoder=dna.sizes, head=head.sizes, frames="open", chunk_lengths=(chunk_length,),
        thresholds=Thresholds(virus=0.5),
        provenance={
            encoders[0].label: protein.provenance,
            encoders[1].label: dna.provenance,
            HEAD: head.provenance,
        },
        metrics={}, files={},
    )  # fmt: skip
    contents = {**protein.contents, **dna.contents, **head.contents}
    _settle(place, description, contents)
    return load_bundle(place, is_checked=True)  # its digests were taken from the files just now


def add_encoder(name: str, file: str | os.PathLike[str]) -> Model:
    """Keep a lone encoder under its name.

    Args:
        name: what to call it; `embed --model` takes it then. A published name needs its sizes.
        file: an encoder, as `add_bundle` takes it.

    Raises:
        BundleError: the weights are damaged, or not those of the name.
    """
    place = _free_place(name)
    if name in PUBLISHED:
        raise BundleError(f"{name}: a whole bundle; give an ESM-2, a DNABERT-S and a head")
    given = identify(file)
    if given.kind == "head":
        raise BundleError(f"{given.path}: a head; give an ESM-2 and a DNABERT-S with it")
    part = read_encoder(given, ENCODERS.get(name))
    description = EncoderManifest(
        format=layout.FORMAT, name=name, version="1", encoder=part.sizes,
        provenance={given.label: part.provenance}, files={},
    )  # fmt: skip
    _check_sizes(name, description, part.path)
    _settle(place, description, part.contents)
    return load_model(place, is_checked=True)


def bundle_with_head(bundle_name: str, head: Path) -> Path:
    """Return the directory of a bundle with another head, made once and then found again.

    The digests of its files are not compared here, but by who uses it (`Bundle.check`).

    Args:
        bundle_name: the bundle's name or directory.
        head: a published head (`300_model.pth`), or the weights of one.

    Raises:
        BundleError: the bundle or the head is damaged, or they do not fit together.
    """
    bundle = load_bundle(bundle_name, is_checked=True)
    with reading(head, "give a head such as 500_model.pth", BundleError):
        if not head.is_file():
            raise BundleError(f"{head}: no such file; give a head such as 500_model.pth")
        digest = sha256_of(head)
    return _made_once(bundle.sha256 + digest, lambda place: _with_head(bundle, head, place))


def bundle_of_encoders(names: Sequence[str]) -> Path:
    """Return the directory of a bundle of two encoders and no trained head, for `train`.

    It is made once and then found again.

    Args:
        names: a protein encoder and a DNA encoder, in any order, as `load_model` takes them.

    Raises:
        BundleError: an encoder is not here or damaged, or they are not one of each kind.
    """
    found = [find_encoder(name) for name in names]
    if sorted(encoder.manifest.kind for encoder in found) != ["dna", "protein"]:
        raise BundleError(
            f"{'+'.join(names)}: give a protein encoder and a DNA encoder, as esmc-300m+dnabert-s"
        )
    key = "".join(sorted(encoder.manifest.kind + encoder.sha256 for encoder in found))
    return _made_once(key, lambda place: _of_encoders(names, place))


def _of_encoders(names: Sequence[str], place: Path) -> Bundle:
    given = {part.kind: part for part in map(identify, names)}
    encoders = {kind: read_encoder(given[kind], None) for kind in layout.ENCODER_FILES}
    width = sum(part.width for part in encoders.values())
    ones, zeros = torch.ones(1), torch.zeros(1)
    untrained = {
        "hidden_layer.weight": torch.zeros(1, width), "hidden_layer.bias": zeros,
        "bn1.weight": ones, "bn1.bias": zeros, "bn1.running_mean": zeros, "bn1.running_var": ones,
        "bn1.num_batches_tracked": torch.tensor(0),
        "output_layer.weight": torch.zeros(2, 1), "output_layer.bias": torch.zeros(2),
    }  # fmt: skip
    head, state = convert_head(untrained, str(place))
    description = Manifest(
        format=layout.FORMAT, name="+".join(names)[:100], version="1",
        protein_encoder=encoders["protein"].sizes, dna_encoder=encoders["dna"].sizes, head=head,
        frames="open", chunk_lengths=(_USUAL_CHUNK,), thresholds=Thresholds(virus=0.5),
        provenance={
            **{given[kind].label: part.provenance for kind, part in encoders.items()},
            HEAD: "not trained: every score is one half",
        },
        metrics={}, files={},
    )  # fmt: skip
    contents = [part.contents for part in encoders.values()]
    _settle(place, description, {**contents[0], **contents[1], layout.HEAD_FILE: state})
    return load_bundle(place, is_checked=True)


def _made_once(key: str, make: Callable[[Path], Bundle]) -> Path:
    """Return the directory of a derived bundle, which is made unless it is there.

    Args:
        key: digests of what it is made of.
        make: makes it in a directory.

    Raises:
        BundleError: it cannot be made, or is damaged.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    made = [store / DERIVED / name for store in stores()]
    place = next((place for place in made if place.is_dir()), made[-1])
    if not place.is_dir():
        try:
            return make(place).path
        except BundleError:
            if not place.is_dir():  # else another process was first
                raise
    try:
        found = load_bundle(place, is_checked=True)
        check_sizes(place, found.manifest.files)
    except BundleError as error:
        raise BundleError(f"{error}: remove {place}, it is then made again") from error
    return found.path


def _with_head(bundle: Bundle, head: Path, place: Path) -> Bundle:
    part, old = read_head(identify(head)), bundle.manifest
    _check_width(part, [encoder.width for encoder in old.encoders.values()])
    length = chunk_length_of(head)
    description = msgspec.structs.replace(
        old,
        name=f"{old.name}+{head.name}"[:100],
        head=part.sizes,
        chunk_lengths=(length,) if length else old.chunk_lengths,
        provenance={**old.provenance, HEAD: part.provenance},
        metrics={},
        calibration=None,
    )
    linked = _linked_encoders(bundle, is_checked=True)  # later, by who uses the bundle
    _settle(place, description, {**linked, **part.contents})
    return load_bundle(place, is_checked=True)


def with_calibration(
    bundle: Bundle,
    calibration: Calibration,
    *,
    name: str | None = None,
    directory: Path | None = None,
) -> Bundle:
    """Make a bundle of the same files, which are linked, with a calibration.

    Args:
        bundle: bundle to link the files of.
        calibration: calibration fitted on scores of the bundle.
        name: name of the new bundle; or
        directory: new directory for it.

    Raises:
        BundleError: the name or the directory is taken.
    """
    old, place = bundle.manifest, place_for_calibrated(name, directory)
    called = name or old.name.removesuffix(_CALIBRATED)[: 100 - len(_CALIBRATED)] + _CALIBRATED
    description = msgspec.structs.replace(old, name=called, calibration=calibration)
    _settle(place, description, _linked(bundle, bundle.manifest.file_names))
    return load_bundle(place, is_checked=True)


def place_for_calibrated(name: str | None, directory: Path | None) -> Path:
    """Return the directory for a calibrated bundle, from its name or its directory.

    Raises:
        BundleError: the name or the directory is taken.
    """
    if name in PUBLISHED or name in ENCODERS:
        raise BundleError(f"{name}: comes without a calibration; give the bundle another name")
    place = _free_place(name) if name is not None else directory
    if place is None or place.exists():
        raise BundleError(f"{place}: is there already; give a new directory")
    return place


def with_trained_head(
    bundle: Bundle, head: Mapping[str, Tensor], directory: Path, description: Manifest
) -> Bundle:
    """Make a bundle of the same encoders, which are linked, with a head that was just trained.

    Args:
        bundle: bundle to link the encoders of.
        head: weights of the head.
        directory: new directory for the bundle.
        description: the manifest; the size of the head and the files are filled in here.

    Raises:
        BundleError: the directory is taken.
    """
    if directory.exists():
        raise BundleError(f"{directory}: is there already; give a new directory")
    sizes, state = convert_head(head, str(directory))
    linked = _linked_encoders(bundle)
    described = msgspec.structs.replace(description, head=sizes, calibration=None)
    _settle(directory, described, {**linked, layout.HEAD_FILE: state})
    return load_bundle(directory, is_checked=True)


def _linked_encoders(bundle: Bundle, *, is_checked: bool = False) -> dict[str, Linked]:
    encoders = [name for name in bundle.manifest.file_names if name != layout.HEAD_FILE]
    return _linked(bundle, encoders, is_checked=is_checked)


def _linked(bundle: Bundle, files: Iterable[str], *, is_checked: bool = False) -> dict[str, Linked]:
    described = bundle.manifest.files
    return {name: Linked(bundle.path / name, described[name], is_checked) for name in files}


def _free_place(name: str) -> Path:
    """Return the directory for a new name."""
    check_name(name)
    if name in EMBEDDED:
        raise BundleError(f"{name}: comes with virnucpro; give another name")
    for place in (store / name for store in stores()):
        if place.exists():
            raise BundleError(f"{place}: is there already; remove it, or give another name")
    return home() / name


def _check_published_head(name: str, head: Path) -> None:
    """Refuse a head that is not the published one, if the name is published."""
    published = PUBLISHED.get(name)
    if published is not None and not (head.is_file() and git_blob_id(head) == published.head_blob):
        raise BundleError(
            f"{head}: is not the published {published.head} (git blob {published.head_blob[:12]}); "
            f"get that, or give the bundle another name than {name}"
        )


def _check_width(head: Part, encoders: Sequence[int]) -> None:
    if head.width != sum(encoders):
        given = " + ".join(str(width) for width in reversed(encoders))
        raise BundleError(
            f"{head.path}: takes {head.width} numbers a frame where these encoders give {given}; "
            "it was trained with others, give it with those"
        )


def _check_sizes(name: str, found: EncoderManifest, where: Path) -> None:
    """Refuse an encoder without the published sizes, if the name is published."""
    published, sizes = ENCODERS.get(name), found.encoder
    if published is None:
        return
    have = _told(spec_of(sizes), sizes.layers, sizes.width, sizes.heads)
    needed = spec_named(published.architecture)
    need = _told(needed, published.layers, published.width, published.heads)
    if have != need:
        raise BundleError(f"{where}: is {have}, but {name} is {need}; give another name")


def _told(spec: EncoderSpec, layers: int, width: int, heads: int) -> str:
    return f"{spec.title} with {layers} layers, width {width} and {heads} heads"


def _settle(
    place: Path,
    description: Manifest | EncoderManifest,
    contents: Mapping[str, Content],
) -> None:
    """Write a directory under a temporary name, check it, and rename it when it is whole."""
    partial = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_directory(partial, description, contents)
            read_manifest(partial)  # a bundle that this refuses must not appear
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if place.is_dir():
            raise BundleError(f"{place}: another process has made it") from error
        raise BundleError(
            f"{place}: cannot be written ({error.strerror or error}); fix this and try again"
        ) from error
