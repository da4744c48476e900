"""Shell completion of the values of options, without loading PyTorch."""

from collections.abc import Callable
from importlib.resources import files

from virnucpro.files import stores

#: Manifest of a bundle or lone encoder, and the head, which only a bundle has; as in
#: `bundles.manifest`.
_MANIFEST, _HEAD = "bundle.json", "head.safetensors"

Completion = Callable[[str], list[str]]


def words(*choices: str) -> Completion:
    """Return a completion that offers these words."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def bundles(incomplete: str) -> list[str]:
    """Complete the names that `predict --bundle` accepts."""
    return words(*_embedded(), *_added(has_head=True))(incomplete)


def models(incomplete: str) -> list[str]:
    """Complete the names that `embed --model` accepts."""
    pairs = [f"{name}:{kind}" for name in ("compact-pair",) for kind in ("protein", "dna")]
    return words(*_added(has_head=False), *pairs)(incomplete)


def everything(incomplete: str) -> list[str]:
    """Complete the names of all bundles and lone encoders on this machine."""
    return sorted({*bundles(incomplete), *words(*_added(has_head=False))(incomplete)})


def _embedded() -> list[str]:
    found = [place for place in (files("virnucpro") / "bundles").iterdir() if place.is_dir()]
    return sorted(place.name for place in found if place.joinpath(_MANIFEST).is_file())


def _added(*, has_head: bool) -> list[str]:
    manifests = [path for store in stores() for path in store.glob("[!.]*/" + _MANIFEST)]
    places = {manifest.parent for manifest in manifests}
    return sorted({p.name for p in places if (p / _HEAD).exists() == has_head})
