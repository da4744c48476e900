"""The published files from where they are published, through huggingface_hub and its cache.

`HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and tokens count as everywhere; what was interrupted goes
on where it stopped. Heads are in a git repository and come over HTTPS; `VIRNUCPRO_HEADS_URL` names
a mirror.
"""

import os
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from virnucpro.bundles.assemble import add_bundle
from virnucpro.bundles.registry import (
    DNABERT_S,
    ESM2_3B,
    ESM2_3B_REVISION,
    HEADS,
    PUBLISHED,
    Published,
    git_blob_id,
    sha256_of,
)
from virnucpro.bundles.store import Bundle, added_bundles, home, load_bundle
from virnucpro.bundles.weights import LAYOUTS, weight_files
from virnucpro.errors import BundleError
from virnucpro.storage import write_whole

_HEADS_URL = f"https://raw.githubusercontent.com/{HEADS}/HEAD"
_SECONDS = 30
#: Most bytes of a head; the published ones have 7 MB.
_LONGEST_HEAD = 1 << 26


def fetch_bundle(name: str) -> Bundle:
    """Get the files of a published bundle and make the bundle of them; nothing is done twice.

    Raises:
        BundleError: when there is no such bundle, or a file cannot be had or is not the published
            one.
    """
    published = PUBLISHED.get(name)
    if published is None:
        raise BundleError(f"{name}: can be fetched: {', '.join(PUBLISHED)}")
    if name in added_bundles():
        return load_bundle(name)
    esm2 = fetch_model(ESM2_3B, ESM2_3B_REVISION, ("config.json",))
    dna = fetch_model(DNABERT_S, "main", ("config.json", "tokenizer.json"))
    head = fetch_head(published)
    try:
        return add_bundle(name, [esm2, dna, head])
    except (BundleError, OSError):
        if name not in added_bundles():  # else another process was first
            raise
        return load_bundle(name)


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
        raise BundleError(f"{repository}: has none of {', '.join(LAYOUTS)} at {revision}")
    wanted = [file.name for file in weight_files(entry)]
    for file in [*wanted, *others]:
        if file != entry.name and _fetch(repository, revision, file) is None:
            raise BundleError(f"{repository}: has no {file} at {revision}")
    return entry.parent


def _fetch(repository: str, revision: str, file: str) -> Path | None:
    """Return a file of the hub in its cache, None where the repository has no such file."""
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415 (slow to import)

    try:
        path = Path(hf_hub_download(repository, file, revision=revision))
    except errors.RemoteEntryNotFoundError:
        return None
    except errors.LocalEntryNotFoundError as error:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            return None
        raise _failure(repository, file, error.__cause__ or error) from error
    except (errors.HfHubHTTPError, OSError, ValueError) as error:
        raise _failure(repository, file, error) from error
    _check(path)
    return path


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
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise _failure(HEADS, published.head, error) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    if git_blob_id(path) != published.head_blob:
        with suppress(OSError):
            path.unlink()
        raise BundleError(f"{url}: is not the published {published.head}; nothing was kept")
    return path
