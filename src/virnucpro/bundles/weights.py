"""Weights in the files in which they are published: one or several, safetensors or pickled."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from virnucpro.bundles.pickles import read_pickled
from virnucpro.errors import BundleError

#: Files of a directory in Hugging Face's layout, the first that is there counts.
_WHOLE = (
    "model.safetensors.index.json", "model.safetensors",
    "pytorch_model.bin.index.json", "pytorch_model.bin",
)  # fmt: skip
_CONFIG = "config.json"
_ZIP = b"PK\x03\x04"
#: Most bytes of an index or a configuration.
_LONGEST_JSON = 1 << 24


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of published weights, mapped onto their files.

    Args:
        path: a directory in Hugging Face's layout, an index of several files beside it, or a file.

    Raises:
        BundleError: when something is missing, damaged or of another format.
    """
    if path.is_dir():
        found = [path / name for name in _WHOLE if (path / name).is_file()]
        if not found:
            raise BundleError(f"{path}: holds no weights; it needs one of {', '.join(_WHOLE)}")
        return read_weights(found[0])
    if path.name.endswith(".index.json"):
        return _read_index(path)
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); get it anew") from error
    return read_pickled(path) if is_zip else _read_safetensors(path)


def read_config(path: Path) -> dict[str, Any]:
    """Return `config.json` of a directory in Hugging Face's layout, nothing where there is none."""
    config = path / _CONFIG
    return _read_json(config) if path.is_dir() and config.is_file() else {}


def _read_index(path: Path) -> dict[str, Tensor]:
    """Read the files that an index names, which must lie beside it."""
    places = _read_json(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
        raise BundleError(f"{path}: is no index of weights; get it anew")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if not name or Path(name).name != name or name.endswith(".index.json"):
            raise BundleError(f"{path}: names {name[:100]!r}, which is no file beside it")
        tensors |= read_weights(path.with_name(name))
    missing = sorted(places.keys() - tensors.keys())
    if missing:
        raise BundleError(f"{path}: {missing[0]} is in none of its files; get them anew")
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LONGEST_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read as JSON; get it anew") from error
    if not isinstance(found, dict):
        raise BundleError(f"{path}: cannot be read as JSON; get it anew")
    return found


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as weights:
            return {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: neither safetensors nor PyTorch ({error})") from error
