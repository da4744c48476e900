"""Weights in the files in which they are published: one or several, safetensors or pickled."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from virnucpro.bundles.pickles import read_pickled
from virnucpro.errors import BundleError

#: Files of a directory in Hugging Face's layout, the first that is there counts.
LAYOUTS = (
    "model.safetensors.index.json", "model.safetensors",
    "pytorch_model.bin.index.json", "pytorch_model.bin",
)  # fmt: skip
_INDEX = ".index.json"
_CONFIG = "config.json"
_ZIP = b"PK\x03\x04"
#: Most bytes of an index or a configuration.
_LONGEST_JSON = 1 << 24


def weight_files(path: Path) -> list[Path]:
    """Return the files that hold published weights.

    Args:
        path: a directory in Hugging Face's layout, an index of several files beside it, or a file.

    Raises:
        BundleError: when there are none, or an index is damaged.
    """
    entry = _entry(path)
    if not _is_index(entry):
        return [entry]
    return [entry.with_name(name) for name in sorted(set(_places(entry).values()))]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of published weights, mapped onto their files.

    Args:
        path: as `weight_files` takes it.

    Raises:
        BundleError: when something is missing, damaged or of another format.
    """
    entry = _entry(path)
    tensors: dict[str, Tensor] = {}
    for file in weight_files(entry):
        tensors |= _read_file(file)
    missing = sorted(_places(entry).keys() - tensors.keys()) if _is_index(entry) else []
    if missing:
        raise BundleError(f"{entry}: {missing[0]} is in none of its files; get them anew")
    return tensors


def _entry(path: Path) -> Path:
    """Return the file that counts in a directory, or the file itself."""
    if not path.is_dir():
        return path
    found = [path / name for name in LAYOUTS if (path / name).is_file()]
    if not found:
        raise BundleError(f"{path}: holds no weights; it needs one of {', '.join(LAYOUTS)}")
    return found[0]


def _is_index(path: Path) -> bool:
    return path.name.endswith(_INDEX)


def _read_file(path: Path) -> dict[str, Tensor]:
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


def _places(path: Path) -> dict[str, str]:
    """Return which file holds which tensor, by an index; the files must lie beside it."""
    places = _read_json(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
        raise BundleError(f"{path}: is no index of weights; get it anew")
    for name in set(places.values()):
        if not name or Path(name).name != name or _is_index(Path(name)):
            raise BundleError(
                f"{path}: names {name[:100]!r}, which is no file beside it; get it anew"
            )
    return places


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
