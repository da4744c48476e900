"""The published models: where they are, and the digests that are known of their files."""

import hashlib
from pathlib import Path
from typing import NamedTuple

ESM2_3B = "facebook/esm2_t36_3B_UR50D"
ESM2_3B_REVISION = "476b639933c8baad5ad09a60ac1a87f987b656fc"
#: sha256 of the weights' files at that revision.
ESM2_3B_FILES = frozenset(
    {
        "0f971f11c449d21422aa982b791619c10351972992c735f4c3cd43fe09790412",
        "7560b46fc383c691fb74b915b7d4bcef40d3df181447f16ba4b298845e308d0c",
    }
)
DNABERT_S = "zhihan1996/DNABERT-S"
HEADS = "Li-Jing-1997/VirNucPro"


class Published(NamedTuple):
    """A bundle of published weights.

    Attributes:
        head: file name of its head in the repository `HEADS`.
        head_blob: that file's id as git computes it.
        chunk_length: bases of a chunk that the head was trained for.
    """

    head: str
    head_blob: str
    chunk_length: int


PUBLISHED = {
    "virnucpro-300": Published("300_model.pth", "a0b5b85e7c1e44f00cde146d091beb82b2c8e855", 300),
    "virnucpro-500": Published("500_model.pth", "fc35d5ef9f1f4564eea7036f34f4f8ec6000d33d", 500),
}


def git_blob_id(path: Path) -> str:
    """Return the id that git gives a file's content (git-hash-object)."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(1 << 24):
            digest.update(part)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
