"""The published models: where they are, and the digests that are known of their files."""

import hashlib
from pathlib import Path
from typing import NamedTuple, cast

from virnucpro.bundles.foreign import open_regular
from virnucpro.bundles.manifest import Kind
from virnucpro.encoders.table import spec_named

#: Where the heads are, on GitHub.
HEADS = "Li-Jing-1997/VirNucPro"


class PublishedEncoder(NamedTuple):
    """An encoder as it is published.

    Attributes:
        architecture: name of its architecture, as in manifests.
        repository: on the hub.
        layers: of the network.
        width: of the network.
        heads: of the network.
        revision: a commit, or the branch.
        digests: sha256 of the weights' files at that revision, where they are known.
        weights: path of the weights in the repository; empty where it has transformers' layout.
        licence: terms of the weights that `models fetch` names; empty for MIT and Apache 2.0.
    """

    architecture: str
    repository: str
    layers: int
    width: int
    heads: int
    revision: str = "main"
    digests: frozenset[str] = frozenset()
    weights: str = ""
    licence: str = ""

    @property
    def kind(self) -> Kind:
        """What it reads."""
        return cast("Kind", spec_named(self.architecture).reads)


class Published(NamedTuple):
    """A bundle of published weights.

    Attributes:
        head: file name of its head in the repository `HEADS`.
        head_blob: that file's id as git computes it.
        chunk_length: bases of a chunk that the head was trained for.
        protein: name of its ESM-2.
        dna: name of its DNABERT-S.
    """

    head: str
    head_blob: str
    chunk_length: int
    protein: str = "esm2_t36_3B_UR50D"
    dna: str = "dnabert-s"


def _esm2(name: str, layers: int, width: int, heads: int) -> dict[str, PublishedEncoder]:
    return {name: PublishedEncoder("esm2", f"facebook/{name}", layers, width, heads)}


def _esm_c(
    size: str, layers: int, width: int, heads: int, digest: str, licence: str
) -> dict[str, PublishedEncoder]:
    encoder = PublishedEncoder(
        "esm_c",
        f"EvolutionaryScale/esmc-{size}-2024-12",
        layers,
        width,
        heads,
        digests=frozenset({digest}),
        weights=f"data/weights/esmc_{size}_2024_12_v0.pth",
        licence=f"published under the {licence} licence in 2024, under MIT by Biohub since 2026; "
        "read the terms in the repository before use",
    )
    return {f"esmc-{size}": encoder}


#: Sizes: Lin et al. 2023, table S1, and fair-esm's arguments; DNABERT-S's config.json; the package
#: `esm` 3.2.1. The digests of ESM C were reported by several projects that downloaded the files.
ENCODERS = {
    **_esm2("esm2_t6_8M_UR50D", 6, 320, 20),
    **_esm2("esm2_t12_35M_UR50D", 12, 480, 20),
    **_esm2("esm2_t30_150M_UR50D", 30, 640, 20),
    **_esm2("esm2_t33_650M_UR50D", 33, 1280, 20),
    "esm2_t36_3B_UR50D": PublishedEncoder(
        "esm2",
        "facebook/esm2_t36_3B_UR50D",
        layers=36,
        width=2560,
        heads=40,
        revision="476b639933c8baad5ad09a60ac1a87f987b656fc",
        digests=frozenset(
            {
                "0f971f11c449d21422aa982b791619c10351972992c735f4c3cd43fe09790412",
                "7560b46fc383c691fb74b915b7d4bcef40d3df181447f16ba4b298845e308d0c",
            }
        ),
    ),
    **_esm2("esm2_t48_15B_UR50D", 48, 5120, 40),
    **_esm_c(
        *("300m", 30, 960, 15),
        digest="323dff9fbf3fef297a74f4f18b6528e6f2e599b0bcf72b6927516804015becea",
        licence="Cambrian Open",
    ),
    **_esm_c(
        *("600m", 36, 1152, 18),
        digest="8ef856e1a237ee3f995442df997a962e70057faadecf38fc0c8561bd3c2f4324",
        licence="Cambrian Non-Commercial",
    ),
    "dnabert-s": PublishedEncoder("dnabert_s", "zhihan1996/DNABERT-S", 12, 768, 12),
}

PUBLISHED = {
    "virnucpro-300": Published("300_model.pth", "a0b5b85e7c1e44f00cde146d091beb82b2c8e855", 300),
    "virnucpro-500": Published("500_model.pth", "fc35d5ef9f1f4564eea7036f34f4f8ec6000d33d", 500),
}


def git_blob_id(path: Path) -> str:
    """Return the id that git gives a file's content (git-hash-object)."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open_regular(path) as file:
        while part := file.read(1 << 24):
            digest.update(part)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
