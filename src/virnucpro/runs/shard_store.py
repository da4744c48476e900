"""Shards on disk, each the result of one block.

A shard file holds the sha256 of everything after it, the sha256 of the block's records, and the
content. It is written under another name, synced and renamed, so that it exists whole or not at
all. A shard that does not match its digest counts as missing and is computed again.
"""

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path

from virnucpro.errors import RunError
from virnucpro.files import naming, write_whole
from virnucpro.system.directories import own_directory

_DIGEST_BYTES = 32


class ShardStore:
    """The shards of a run.

    Args:
        directory: directory of the shards; created if missing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        own_directory(directory)

    @property
    def is_there(self) -> bool:
        """Whether the directory exists; it is deleted once the run is finished."""
        return self.directory.is_dir()

    def _path(self, index: int) -> Path:
        return self.directory / f"{index:08d}.shard"

    def write(self, index: int, block_digest: bytes, shard: bytes) -> None:
        """Write the encoded shard of a block, whole or not at all."""
        content = block_digest + shard
        write_whole(self._path(index), hashlib.sha256(content).digest() + content)

    def read(self, index: int) -> tuple[bytes, bytes] | None:
        """Return the digest of a block and the content of its shard; None if missing or damaged."""
        path = self._path(index)
        try:
            with naming(path):
                content = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        return content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]

    def load(self, index: int) -> bytes:
        """Return the content of a shard that must exist and be intact."""
        found = self.read(index)
        if found is None:
            if not self._path(index).exists():
                raise RunError(f"{self._path(index)}: no longer exists; run the command again")
            raise RunError(
                f"{self._path(index)}: damaged since it was written; run the command again"
            )
        return found[1]

    def remove(self) -> None:
        """Delete all shards, and the rest of an earlier deletion that was interrupted."""
        gone = self.directory.with_name(self.directory.name + ".gone")
        if gone.is_symlink():
            gone.unlink()
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(FileNotFoundError):  # another process was faster
            self.directory.rename(gone)  # so that no process can add to it
            shutil.rmtree(gone)
