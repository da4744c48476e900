"""Digests of published files: those that the registry knows, and those recorded on first use.

What is recorded lies in `.digests.json` beside the bundles: repository and file -> sha256, the
hub's commit where it is known, and the day.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from virnucpro.bundles.registry import ENCODERS, PublishedEncoder, sha256_of
from virnucpro.errors import BundleError
from virnucpro.storage import home, write_whole

AS_PUBLISHED = "as published"
UNKNOWN = "no published digest is known of it"
_FIRST_SEEN = "first seen: recorded"
#: How provenance says the digest of a file and what is known of it.
_SAID = re.compile(r"sha256 ([0-9a-f]{64}) \([^()]*\)")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file was when it was first seen.

    Attributes:
        sha256: of its content.
        commit: of the hub, where the file came from its cache.
        date: the day.
    """

    sha256: str
    commit: str
    date: str


def judge(files: Iterable[Path], encoder: PublishedEncoder | None) -> tuple[str, dict[str, Record]]:
    """Say the digest of each file and what is known of it.

    Args:
        files: of published weights.
        encoder: whose files these must be; None where they may be of any.

    Returns:
        what to say, and what is to be recorded once the files have proved to be of use.

    Raises:
        BundleError: when a file has another digest than the one recorded of it.
    """
    said, new = [], {}
    for file in files:
        sha256 = sha256_of(file)
        verdict = _verdict(sha256)
        if encoder is not None and verdict != AS_PUBLISHED:
            key = f"{encoder.repository}/{file.name}"
            _compare(key, sha256)
            if verdict == UNKNOWN:
                verdict = _FIRST_SEEN
                new[key] = Record(sha256, _commit(file), datetime.now(UTC).date().isoformat())
        said.append(f"{file.name} {say(sha256, verdict)}")
    return ", ".join(said), new


def record(new: Mapping[str, Record]) -> None:
    """Keep digests of files that were seen for the first time.

    Raises:
        BundleError: when another process recorded another digest meanwhile.
    """
    if not new:
        return
    with _lock():
        for key, seen in new.items():
            _compare(key, seen.sha256)
        content = msgspec.json.encode({**new, **_recorded()}, order="sorted")
        text = msgspec.json.format(content, indent=2) + b"\n"
        write_whole(_path(), text, f".{os.getpid()}")


def judge_again(said: str) -> str:
    """Return what provenance says of files with what is known of their digests now."""
    return _SAID.sub(lambda match: say(match[1], _verdict(match[1])), said)


def is_known(said: str) -> bool:
    """Tell whether each file of which provenance speaks is as published or as recorded."""
    digests = _SAID.findall(said)
    return bool(digests) and all(_verdict(sha256) != UNKNOWN for sha256 in digests)


def say(sha256: str, verdict: str) -> str:
    """Return how provenance says a digest and what is known of it."""
    return f"sha256 {sha256} ({verdict})"


def _verdict(sha256: str) -> str:
    if any(sha256 in encoder.digests for encoder in ENCODERS.values()):
        return AS_PUBLISHED
    dates = [known.date for known in _recorded().values() if known.sha256 == sha256]
    return f"as recorded on {min(dates)}" if dates else UNKNOWN


def _compare(key: str, sha256: str) -> None:
    """Hold a file to the digest recorded of it, where there is one."""
    known = _recorded().get(key)
    if known is not None and known.sha256 != sha256:
        raise BundleError(
            f"{key}: has sha256 {sha256} where {known.sha256} was recorded on {known.date}; if it "
            f"may differ, remove its entry from {_path()}, or use virnucpro models add with a name "
            "of your own"
        )


def _recorded() -> dict[str, Record]:
    try:
        return msgspec.json.decode(_path().read_bytes(), type=dict[str, Record])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"{_path()}: cannot be read ({error}); remove it, and digests are recorded anew"
        ) from error


def _commit(file: Path) -> str:
    """Return the commit of a file in the hub's cache, `snapshots/COMMIT/FILE`."""
    is_cached = file.parent.parent.name == "snapshots"
    return file.parent.name if is_cached else ""


@contextmanager
def _lock() -> Iterator[None]:
    """Let one process at a time add to the records."""
    home().mkdir(parents=True, exist_ok=True)
    with _path().with_suffix(".lock").open("w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _path() -> Path:
    return home() / ".digests.json"
