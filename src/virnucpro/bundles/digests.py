"""Digests of published files: those in the registry, and those that a verification recorded.

`virnucpro models verify` records the digests of files whose network gives the published outputs,
never because of their name. The records are in `.digests.json` in the folder of the bundles:
repository and file -> sha256, the hub's commit if it is known, and the day.
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
#: Largest size of that file in bytes.
_LONGEST = 1 << 20
AS_PUBLISHED = "as published"
UNKNOWN = "no published digest is known of it"
#: How provenance names a file, its digest, and what is known of it.
_DIGEST = re.compile(r"(\S+) sha256 ([0-9a-f]{64}) \(([^()]*)\)")
#: What is known of a file in the hub's cache that has the digest that the hub gives.
_OF_HUB = re.compile(r"as [\w.-]+/[\w.-]+ has it at ([\w.-]+)")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """State of a file when its network was verified.

    Attributes:
        commit: commit of the hub, if the file came from its cache; otherwise empty.
        date: day of the verification.
        sha256: digest of the content.
    """

    commit: str
    date: str
    sha256: str


def judge(files: Iterable[Path], encoder: PublishedEncoder | None) -> str:
    """Return the provenance of files: the digest of each and what is known of it.

    Args:
        files: files of published weights.
        encoder: encoder that the files must belong to; None if they may belong to any.

    Raises:
        BundleError: a file does not have the digest that was recorded for it.
    """
    provenance = []
    for file in files:
        sha256 = sha256_of(file)
        verdict = _verdict(sha256)
        if encoder is not None and verdict != AS_PUBLISHED:
            _compare(f"{encoder.repository}/{file.name}", sha256)
            if verdict == UNKNOWN:
                verdict = _of_hub(file, sha256, encoder.repository) or UNKNOWN
        provenance.append(f"{file.name} {described(sha256, verdict)}")
    return ", ".join(provenance)


def record(encoder: PublishedEncoder, provenance: str) -> bool:
    """Record the digests of files whose network gives the published outputs.

    Args:
        encoder: encoder that the files belong to.
        provenance: provenance of the files.

    Returns:
        whether there was a new digest to record.

    Raises:
        BundleError: another digest is recorded for a file, or the record cannot be written.
    """
    today = datetime.now(UTC).date().isoformat()
    new: dict[str, Record] = {}
    for name, sha256, verdict in _DIGEST.findall(provenance):
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


def judge_again(provenance: str) -> str:
    """Return provenance updated with what is known of the digests now."""

    def judged(match: re.Match[str]) -> str:
        verdict = _verdict(match[2])
        is_of_hub = verdict == UNKNOWN and _OF_HUB.fullmatch(match[3])
        return f"{match[1]} {described(match[2], match[3] if is_of_hub else verdict)}"

    return _DIGEST.sub(judged, provenance)


def is_known(provenance: str) -> bool:
    """Return whether each file in a provenance is as published, as recorded, or as on the hub."""
    verdicts = [verdict for *_, verdict in _DIGEST.findall(judge_again(provenance))]
    return bool(verdicts) and UNKNOWN not in verdicts


def described(sha256: str, verdict: str) -> str:
    """Return the words for a digest in a provenance."""
    return f"sha256 {sha256} ({verdict})"


def _verdict(sha256: str) -> str:
    if any(sha256 in encoder.digests for encoder in ENCODERS.values()):
        return AS_PUBLISHED
    dates = [known.date for known in _recorded().values() if known.sha256 == sha256]
    return f"as recorded on {min(dates)}" if dates else UNKNOWN


def _compare(key: str, sha256: str) -> None:
    """Refuse a file that does not have the digest recorded for it, if there is one."""
    known = _recorded().get(key)
    if known is not None and known.sha256 != sha256:
        raise BundleError(
            f"{key}: has sha256 {sha256} where {known.sha256} was recorded on {known.date}; if it "
            f"may differ, remove its entry from {_path()}, or use virnucpro models add with a name "
            "of your own"
        )


def _recorded() -> dict[str, Record]:
    """Return the records of all stores; the first store that has a file counts."""
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
    """Return the commit of a file in the hub's cache in words, or None if it is not in the cache.

    The path is `models--OWNER--NAME/snapshots/COMMIT/FILE`. FILE may have folders; it is a link to
    a file named by the digest that the hub gives.
    """
    snapshots = (f"models--{repository.replace('/', '--')}", "snapshots")
    for commit in file.absolute().parents:
        is_cached = commit.parts[-3:-1] == snapshots
        if is_cached and file.resolve().name in (sha256, git_blob_id(file)):
            return f"as {repository} has it at {commit.name}"
    return None


@contextmanager
def _lock() -> Iterator[None]:
    """Hold the lock that lets one process at a time add records."""
    home().mkdir(parents=True, exist_ok=True)
    with _path().with_suffix(".lock").open("a") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _path() -> Path:
    return home() / _FILE
