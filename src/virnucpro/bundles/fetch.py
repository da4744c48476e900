"""Published files from where they are published, through huggingface_hub and its cache.

`HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and tokens count as everywhere; what was interrupted goes
on where it stopped. Heads are in a git repository and come over HTTPS; `VIRNUCPRO_HEADS_URL` names
a mirror.
"""

import os
import urllib.request
import warnings
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from virnucpro.bundles.assemble import add_bundle, add_encoder
from virnucpro.bundles.digests import is_known
from virnucpro.bundles.models import Model, find_encoder, load
from virnucpro.bundles.registry import (
    ENCODERS,
    HEADS,
    PUBLISHED,
    Published,
    git_blob_id,
    sha256_of,
)
from virnucpro.bundles.store import Bundle, added_bundles, added_encoders
from virnucpro.bundles.weights import LAYOUTS, weight_files
from virnucpro.errors import BundleError
from virnucpro.storage import home, write_whole

_HEADS_URL = f"https://raw.githubusercontent.com/{HEADS}/HEAD"
_SECONDS = 30
#: Most bytes of a head; the published ones have 7 MB.
_LONGEST_HEAD = 1 << 26
#: Kind of an encoder -> files beside its weights.
_OTHERS = {"protein": ("config.json",), "dna": ("config.json", "tokenizer.json")}


def fetch(name: str) -> Bundle | Model:
    """Get the files of a published bundle or encoder and make it of them; nothing is done twice.

    Encoders that are here already, alone or in a published bundle, are linked and not fetched.

    Raises:
        BundleError: when there is no such name, or a file cannot be had or is not the published
            one.
    """
    if name not in PUBLISHED and name not in ENCODERS:
        raise BundleError(f"{name}: can be fetched: {', '.join([*PUBLISHED, *ENCODERS])}")
    place = home() / name
    if not place.is_dir():
        try:
            return _make_encoder(name) if name in ENCODERS else _make_bundle(name)
        except BundleError:
            if not place.is_dir():  # else another process was first
                raise
    return load(name)


def _make_encoder(name: str) -> Model:
    return add_encoder(name, _encoder(name))


def _make_bundle(name: str) -> Bundle:
    published = PUBLISHED[name]
    encoders = [_encoder(encoder) for encoder in (published.protein, published.dna)]
    return add_bundle(name, [*encoders, fetch_head(published)])


def _encoder(name: str) -> str | Path:
    """Return a published encoder that is here and whose files' digests are known, else fetch it."""
    encoder = ENCODERS[name]
    alone = [name] if name in added_encoders() else []
    within = [
        f"{bundle}:{encoder.kind}"
        for bundle in added_bundles()
        if bundle in PUBLISHED and name in (PUBLISHED[bundle].protein, PUBLISHED[bundle].dna)
    ]
    for place in alone + within:
        if is_known(find_encoder(place).manifest.said):
            return place
    return fetch_model(encoder.repository, encoder.revision, _OTHERS[encoder.kind])


def fetch_model(repository: str, revision: str, others: tuple[str, ...]) -> Path:
    """Return the directory with a model's weights, in the first layout that the repository has.

    Args:
        repository: on the hub.
        revision: a commit or a branch.
        others: files beside the weights.
    """
    for layout in LAYOUTS:
        entry = _fetch(repository, revision, layout)
        if entry is not None:
            break
    else:
        raise BundleError(_missing(repository, f"none of {', '.join(LAYOUTS)}", revision))
    wanted = [file.name for file in weight_files(entry)]
    for file in [*wanted, *others]:
        if file != entry.name and _fetch(repository, revision, file) is None:
            raise BundleError(_missing(repository, f"no {file}", revision))
    return entry.parent


def _fetch(repository: str, revision: str, file: str) -> Path | None:
    """Return a file of the hub in its cache, None where the repository has no such file."""
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415 (slow to import)

    try:
        with warnings.catch_warnings():  # the error that follows says it, in one line
            warnings.filterwarnings("ignore", "Not enough free disk space")
            path = Path(hf_hub_download(repository, file, revision=revision))
    except errors.RemoteEntryNotFoundError:
        return None
    except errors.LocalEntryNotFoundError as error:
        if _is_offline():
            return None
        raise _failure(repository, file, error.__cause__ or error) from error
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
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return BundleError(
        f"{repository}/{file}: cannot be fetched ({said}); mend that and fetch again, or get the "
        "files elsewhere and use virnucpro models add"
    )


def _check(path: Path) -> None:
    """Compare a file of the cache with its name there, which is the digest that the hub says."""
    stored = path.resolve()
    digest = {64: sha256_of, 40: git_blob_id}.get(len(stored.name))
    if digest is not None and digest(stored) != stored.name:
        stored.unlink()
        raise BundleError(f"{path}: is not what the hub says it is; it is deleted, fetch again")


def fetch_head(published: Published) -> Path:
    """Return a published head, held to its git blob id."""
    path = home() / ".heads" / published.head
    if path.is_file() and git_blob_id(path) == published.head_blob:
        return path
    url = f"{os.environ.get('VIRNUCPRO_HEADS_URL', _HEADS_URL)}/{published.head}"
    if not url.startswith(("https://", "http://")):
        raise BundleError(f"{url}: give VIRNUCPRO_HEADS_URL as https://...")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 (checked)
            content = answer.read(_LONGEST_HEAD)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, f".{os.getpid()}")
    except (OSError, ValueError, HTTPException) as error:
        raise _failure(HEADS, published.head, error) from error
    if git_blob_id(path) != published.head_blob:
        with suppress(OSError):
            path.unlink()
        raise BundleError(f"{url}: is not the published {published.head}; nothing was kept")
    return path
