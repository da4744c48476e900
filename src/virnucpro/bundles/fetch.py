"""Fetch published files with huggingface_hub and its cache.

`HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and tokens have their usual meaning, and an interrupted
download resumes. Heads are in a git repository and come over HTTPS; `VIRNUCPRO_HEADS_URL` names a
mirror.
"""

import os
import threading
import urllib.request
import warnings
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from virnucpro.bundles.assemble import add_bundle, add_encoder
from virnucpro.bundles.digests import is_known
from virnucpro.bundles.registry import (
    ENCODERS,
    HEADS,
    PUBLISHED,
    Published,
    git_blob_id,
    sha256_of,
)
from virnucpro.bundles.store import Bundle, added_bundles, added_encoders, directories
from virnucpro.bundles.stored_encoder import Model, find_encoder, load
from virnucpro.bundles.weights import LAYOUTS, weight_files
from virnucpro.errors import BundleError, reading
from virnucpro.files import home, stores, write_whole

_HEADS_URL = f"https://raw.githubusercontent.com/{HEADS}/HEAD"
#: Longest time in seconds until an answer begins.
_SECONDS = 10
#: Folder of the fetched heads in a store.
_HEADS = ".heads"
#: Largest size of a head in bytes; the published ones have 7 MB.
_LONGEST_HEAD = 1 << 26
#: Kind of an encoder -> files that it needs in addition to its weights.
_OTHERS = {"protein": ("config.json",), "dna": ("config.json", "tokenizer.json")}


def _quiet(_: str) -> None:
    """Show nothing."""


def fetch(name: str, on_wait: Callable[[str], None] = _quiet) -> Bundle | Model:
    """Fetch the files of a published bundle or encoder and make it, unless it already exists.

    Encoders that already exist, alone or in a published bundle, are linked and not fetched.

    Args:
        name: name of the bundle or encoder.
        on_wait: called before each wait with its reason.

    Raises:
        BundleError: the name is unknown, or a file cannot be fetched or is not the published one.
    """
    if name not in PUBLISHED and name not in ENCODERS:
        raise BundleError(f"{name}: can be fetched: {', '.join([*PUBLISHED, *ENCODERS])}")
    if name not in directories():
        place = home() / name
        try:
            return (_make_encoder if name in ENCODERS else _make_bundle)(name, on_wait)
        except BundleError:
            if not place.is_dir():  # otherwise another process was first
                raise
    return load(name)


def _make_encoder(name: str, on_wait: Callable[[str], None]) -> Model:
    return add_encoder(name, _encoder(name, on_wait))


def _make_bundle(name: str, on_wait: Callable[[str], None]) -> Bundle:
    published = PUBLISHED[name]
    encoders = [_encoder(encoder, on_wait) for encoder in (published.protein, published.dna)]
    on_wait(f"getting {published.head}")
    return add_bundle(name, [*encoders, fetch_head(published)])


def _encoder(name: str, on_wait: Callable[[str], None]) -> str | Path:
    """Return a published encoder: one that exists with known digests, or a fetched one."""
    encoder = ENCODERS[name]
    alone = [name] if name in added_encoders() else []
    within = [
        f"{bundle}:{encoder.kind}"
        for bundle in added_bundles()
        if bundle in PUBLISHED and name in (PUBLISHED[bundle].protein, PUBLISHED[bundle].dna)
    ]
    for place in alone + within:
        if is_known(find_encoder(place).manifest.source_files):
            return place
    if encoder.licence:
        on_wait(f"{encoder.repository}: {encoder.licence}")
    if encoder.weights:
        return fetch_model(encoder.repository, encoder.revision, (), on_wait, (encoder.weights,))
    others = _OTHERS[encoder.kind]
    return fetch_model(encoder.repository, encoder.revision, others, on_wait).parent


def fetch_model(
    repository: str,
    revision: str,
    others: tuple[str, ...],
    on_wait: Callable[[str], None] = _quiet,
    layouts: tuple[str, ...] = LAYOUTS,
) -> Path:
    """Fetch all files of a model; return the file of its weights, or their index.

    Files that are complete in the cache are used without network access.

    Args:
        repository: repository on the hub.
        revision: a commit or a branch.
        others: files to fetch in addition to the weights.
        on_wait: called before each wait with its reason.
        layouts: names of files of weights or indexes; the first that the repository has is used.
    """
    if (found := _cached(repository, revision, others, layouts)) is not None:
        return found
    if not _is_offline():
        _reach(repository, revision, layouts[0], on_wait)
    for layout in layouts:
        entry = _fetch(repository, revision, layout)
        if entry is not None:
            break
    else:
        raise BundleError(_missing(repository, f"none of {', '.join(layouts)}", revision))
    wanted = [file.name for file in weight_files(entry)]
    for file in [*wanted, *others]:
        if file != entry.name and _fetch(repository, revision, file) is None:
            raise BundleError(_missing(repository, f"no {file}", revision))
    return entry


def _cached(
    repository: str, revision: str, others: tuple[str, ...], layouts: tuple[str, ...]
) -> Path | None:
    """Return the same as `fetch_model` if every file is in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 (slow to import)

    def find(file: str) -> Path | None:
        found = try_to_load_from_cache(repository, file, revision=revision)
        return Path(found) if isinstance(found, str) else None

    for layout in layouts:
        entry = find(layout)
        if entry is None:
            continue
        _check(entry)
        names = [file.name for file in weight_files(entry) if file.name != entry.name]
        files = [find(name) for name in (*names, *others)]
        if None not in files:
            for file in filter(None, files):
                _check(file)
            return entry
    return None


def _reach(repository: str, revision: str, file: str, on_wait: Callable[[str], None]) -> None:
    """Ask the hub once for a repository; the library would retry for half a minute.

    Raises:
        BundleError: the hub does not answer, or refuses the request.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415 (slow to import)
    from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415

    url = hf_hub_url(repository, file, revision=revision)
    host = urlsplit(url).netloc
    on_wait(f"asking {host} for {repository} (at most {_SECONDS} s)")
    faults: list[BaseException] = [TimeoutError(f"no answer within {_SECONDS} s")]

    def ask() -> None:
        try:
            with reading(url, "", BundleError), suppress(EntryNotFoundError):
                get_hf_file_metadata(url, timeout=_SECONDS)
            faults.clear()
        except BundleError as error:
            faults[:] = [error]

    asking = threading.Thread(target=ask, daemon=True)  # a DNS lookup has no time limit
    asking.start()
    asking.join(_SECONDS)
    for fault in faults:
        raise _failure(repository, host, fault) from fault


def _fetch(repository: str, revision: str, file: str) -> Path | None:
    """Return a file of the hub in its cache, or None if the repository has no such file."""
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415 (slow to import)

    try:
        with warnings.catch_warnings():  # the error that follows has the same content
            warnings.filterwarnings("ignore", "Not enough free disk space")
            path = Path(hf_hub_download(repository, file, revision=revision))
    except errors.RemoteEntryNotFoundError:
        return None
    except errors.LocalEntryNotFoundError as error:
        if _is_offline():
            return None
        raise _failure(repository, file, error) from error
    except (errors.HfHubHTTPError, OSError, ValueError) as error:
        raise _failure(repository, file, error) from error
    _check(path)
    return path


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _missing(repository: str, what: str, revision: str) -> str:
    if _is_offline():
        return (
            f"{repository}: is not in the cache, and HF_HUB_OFFLINE keeps it from being fetched; "
            "unset that, or get the files elsewhere and use virnucpro models add"
        )
    return f"{repository}: has {what} at {revision}"


def _failure(repository: str, file: str, error: BaseException) -> BundleError:
    """Return the error for a file that cannot be fetched, with the innermost cause."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return BundleError(
        f"{repository}/{file}: cannot be fetched ({reason}); fix this and fetch again, or get the "
        "files elsewhere and use virnucpro models add"
    )


def _check(path: Path) -> None:
    """Compare a file of the cache with its name there, which is the digest that the hub gives."""
    stored = path.resolve()
    digest = {64: sha256_of, 40: git_blob_id}.get(len(stored.name))
    if digest is not None and digest(stored) != stored.name:
        stored.unlink()
        raise BundleError(f"{path}: is not what the hub says it is; it is deleted, fetch again")


def fetch_head(published: Published) -> Path:
    """Return the file of a published head after checking its git blob id."""
    for kept in (store / _HEADS / published.head for store in stores()):
        if kept.is_file() and git_blob_id(kept) == published.head_blob:
            return kept
    path = home() / _HEADS / published.head
    url = f"{os.environ.get('VIRNUCPRO_HEADS_URL', _HEADS_URL)}/{published.head}"
    if not url.startswith(("https://", "http://")):
        raise BundleError(f"{url}: give VIRNUCPRO_HEADS_URL as https://...")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 (checked)
            content = answer.read(_LONGEST_HEAD)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except (OSError, ValueError, HTTPException) as error:
        raise _failure(HEADS, published.head, error) from error
    if git_blob_id(path) != published.head_blob:
        with suppress(OSError):
            path.unlink()
        raise BundleError(f"{url}: is not the published {published.head}; nothing was kept")
    return path
