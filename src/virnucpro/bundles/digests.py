"""Digests of published files: those that the registry knows, and those of which it was verified.

What is recorded lies in `.digests.json` beside the bundles: repository and file -> sha256, the
hub's commit where it is known, and the day. It is recorded of files whose network gave the
published outputs (`virnucpro models verify`), never because of their name.
"""

import fcntl
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from virnucpro.bundles.foreign import read_short
from virnucpro.bundles.registry import ENCODERS, PublishedEncoder, git_blob_id, sha256_of
from virnucpro.errors import BundleError, reading
from virnucpro.files import home, stores, write_json

_FILE = ".digests.json"
#: Most bytes of it.
_LONGEST = 1 << 20
AS_PUBLISHED = "as published"
UNKNOWN = "no published digest is known of it"
#: How provenance says the digest of a file and what is known of it.
_SAID = re.compile(r"(\S+) sha256 ([0-9a-f]{64}) \(([^()]*)\)")
#: What is known of a file in the hub's cache, which was compared with what the hub says of it.
_OF_HUB = re.compile(r"as [\w.-]+/[\w.-]+ has it at ([\w.-]+)")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file was when its network was verified.

    Attributes:
        commit: of the hub, if the file came from its cache.
        date: day of the verification.
        sha256: of the content.
    """

    commit: str
    date: str
    sha256: str


def judge(files: Iterable[Path], encoder: PublishedEncoder | None) -> str:
    """Say the digest of each file and what is known of it.

    Args:
        files: of published weights.
        encoder: whose files these must be; None where they may be of any.

    Raises:
        BundleError: when a file has another digest than the one recorded of it.
    """
    said = []
    for file in files:
        sha256 = sha256_of(file)
        verdict = _verdict(sha256)
        if encoder is not None and verdict != AS_PUBLISHED:
            _compare(f"{encoder.repository}/{file.name}", sha256)
            if verdict == UNKNOWN:
                verdict = _of_hub(file, sha256, encoder.repository) or UNKNOWN
        said.append(f"{file.name} {say(sha256, verdict)}")
    return ", ".join(said)


def record(encoder: PublishedEncoder, said: str) -> bool:
    """Keep the digests of files whose network gave the published outputs.

    Args:
        encoder: whose files these are.
        said: provenance of the files.

    Returns:
        whether there was a digest to keep.

    Raises:
        BundleError: when another digest was recorded of a file, or nothing can be recorded.
    """
    today = datetime.now(UTC).date().isoformat()
    new: dict[str, Record] = {}
    for name, sha256, verdict in _SAID.findall(said):
        if _verdict(sha256) == UNKNOWN:
            of_hub = _OF_HUB.fullmatch(verdict)
            commit = of_hub[1] if of_hub else ""
            new[f"{encoder.repository}/{name}"] = Record(commit, today, sha256)
    if not new:
        return False
    with reading(_path(), "let it be written", BundleError), _lock():
        for key, verified in new.items():
            _compare(key, verified.sha256)
        write_json(_path(), dict(sorted({**new, **_records(_path())}.items())))
    return True


def judge_again(said: str) -> str:
    """Return what provenance says of files with what is known of their digests now."""

    def judged(match: re.Match[str]) -> str:
        verdict = _verdict(match[2])
        is_of_hub = verdict == UNKNOWN and _OF_HUB.fullmatch(match[3])
        return f"{match[1]} {say(match[2], match[3] if is_of_hub else verdict)}"

    return _SAID.sub(judged, said)


def is_known(said: str) -> bool:
    """Tell whether each file of which provenance speaks is published, recorded, or of the hub."""
    verdicts = [verdict for *_, verdict in _SAID.findall(judge_again(said))]
    return bool(verdicts) and UNKNOWN not in verdicts


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
    """Return what is recorded in all stores; of one file, the first counts."""
    found: dict[str, Record] = {}
    for store in reversed(stores()):
        found |= _records(store / _FILE)
    return found


def _records(path: Path) -> dict[str, Record]:
    if not path.exists():
        return {}
    with reading(path, "remove it; digests are recorded again", BundleError):
        return msgspec.json.decode(read_short(path, _LONGEST), type=dict[str, Record])


def _of_hub(file: Path, sha256: str, repository: str) -> str | None:
    """Name the commit of a file in the hub's cache, `models--OWNER--NAME/snapshots/COMMIT/FILE`.

    FILE may have folders. It is a link to a file whose name is the digest that the hub gives.
    """
    snapshots = (f"models--{repository.replace('/', '--')}", "snapshots")
    for commit in file.absolute().parents:
        is_there = commit.parts[-3:-1] == snapshots
        if is_there and file.resolve().name in (sha256, git_blob_id(file)):
            return f"as {repository} has it at {commit.name}"
    return None


@contextmanager
def _lock() -> Iterator[None]:
    """Let one process at a time add to the records."""
    home().mkdir(parents=True, exist_ok=True)
    with _path().with_suffix(".lock").open("a") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _path() -> Path:
    return home() / _FILE
