"""Claims: which process computes which block when several share only the directory of a run.

A claim is a file next to the shards that only one process can create. The holder touches it
regularly. A claim that has not been touched for a minute is stale, and another process may take it
over. Should two processes ever compute the same block, both write the same bytes.
"""

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

#: Seconds between two touches, and seconds after the last touch until a claim is stale.
_BEAT, _STALE = 5.0, 60.0
#: Claim on writing the outputs.
TABLES = -1


class Claims:
    """The claims of this process.

    Args:
        directory: directory of the shards.
        stale: seconds after its last touch until a claim is stale.
    """

    def __init__(self, directory: Path, stale: float = _STALE) -> None:
        self._directory, self._stale_after = directory, stale
        self._owner = secrets.token_hex(8)
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def take(self, index: int) -> bool:
        """Claim a block; return whether this process now holds the claim."""
        path = self._path(index)
        if not self._make(path) and not (self._take_away(path) and self._make(path)):
            return False
        with self._lock:
            self._held.add(index)
        return True

    def _take_away(self, path: Path) -> bool:
        """Remove a stale claim; return whether it was removed."""
        aside = path.with_name(f"{path.name}.{self._owner}")
        try:
            found = path.stat()
            if not self._is_stale(found.st_mtime):
                return False
            path.rename(aside)
            is_same = aside.stat().st_ino == found.st_ino
            if not is_same:  # another process has removed it and created its own
                with suppress(OSError):  # a third was faster, or the file system has no links
                    os.link(aside, path)
            aside.unlink()
        except FileNotFoundError:  # another process was faster
            return False
        return is_same

    def release(self, index: int) -> None:
        """Release a claim whose shard has been written."""
        with self._lock:
            self._held.discard(index)
        self._path(index).unlink(missing_ok=True)

    def close(self) -> None:
        """Release all claims."""
        self._closed.set()
        for index in list(self._held):
            self.release(index)

    def _path(self, index: int) -> Path:
        return self._directory / f"{index:08d}.claim"

    def _make(self, path: Path) -> bool:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except (
            FileExistsError,
            FileNotFoundError,
        ):  # held, or the run is finished
            return False
        return True

    def _is_stale(self, touched: float) -> bool:
        """Compare times on the clock of the file system, which all processes share."""
        now = self._directory / f"{self._owner}.clock"
        now.touch()
        return now.stat().st_mtime - touched > self._stale_after

    def _beat(self) -> None:
        while not self._closed.wait(_BEAT):
            with self._lock:
                held = list(self._held)
            for index in held:
                with suppress(OSError):
                    os.utime(self._path(index))
