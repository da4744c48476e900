"""What a shell offers for the value of an option, without PyTorch."""

from collections.abc import Callable
from importlib.resources import files

from virnucpro.files import stores

#: A bundle's manifest, and the head that a lone encoder lacks; as in `bundles.manifest`.
_MANIFEST, _HEAD = "bundle.json", "head.safetensors"

Completion = Callable[[str], list[str]]


def words(*choices: str) -> Completion:
    """Return a completion of one word out of some."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def bundles(incomplete: str) -> list[str]:
    """Complete what `predict --bundle` takes by name."""
    return words(*_embedded(), *_added(has_head=True))(incomplete)


def models(incomplete: str) -> list[str]:
    """Complete what `embed --model` takes by name."""
    pairs = [f"{name}:{kind}" for name in ("compact-pair",) for kind in ("protein", "dna")]
    return words(*_added(has_head=False), *pairs)(incomplete)


def everything(incomplete: str) -> list[str]:
    """Complete the name of any bundle or lone encoder of this machine."""
    return sorted({*bundles(incomplete), *words(*_added(has_head=False))(incomplete)})


def _embedded() -> list[str]:
    found = [place for place in (files("virnucpro") / "bundles").iterdir() if place.is_dir()]
    return sorted(place.name for place in found if place.joinpath(_MANIFEST).is_file())


def _added(*, has_head: bool) -> list[str]:
    manifests = [path for store in stores() for path in store.glob("[!.]*/" + _MANIFEST)]
    places = {manifest.parent for manifest in manifests}
    return sorted({p.name for p in places if (p / _HEAD).exists() == has_head})
