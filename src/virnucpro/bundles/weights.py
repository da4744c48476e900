"""Weights in the files in which they are published: one or several, safetensors or pickled."""

import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from virnucpro.bundles.foreign import (
    LONGEST_CONFIG,
    LONGEST_INDEX,
    MOST_TENSORS,
    check_header,
    check_shape,
    open_regular,
    read_json,
)
from virnucpro.bundles.torch_files import LEGACY_START, read_state_dict
from virnucpro.errors import BundleError, reading

#: Files of a directory in Hugging Face's layout, the first that is there counts.
LAYOUTS = (
    "model.safetensors.index.json", "model.safetensors",
    "pytorch_model.bin.index.json", "pytorch_model.bin",
)  # fmt: skip
#: Where the repositories of ESM C keep their one file.
_FOLDER = "data/weights/*.pth"
_INDEX = ".index.json"
_CONFIG = "config.json"
#: Most files of an index.
_MOST_FILES = 1000
_PICKLED = (b"PK\x03\x04", LEGACY_START)
#: What files that are no weights start with -> what they are, and what to do.
_OTHERS = (
    (b"version https://git-lfs", "a pointer of git-lfs, not the file; type git lfs pull"),
    (b"<!doctype html", "a web page, not the file; download the file itself"),
    (b"<html", "a web page, not the file; download the file itself"),
    (b"\x89hdf", "weights of TensorFlow or Keras; get PyTorch's or safetensors"),
    (b"\x1f\x8b", "compressed with gzip; decompress it"),
    (b"gguf", "weights in GGUF; get PyTorch's or safetensors"),
    (b"\x80", "a plain pickle, not a checkpoint; save it with torch.save"),
)
#: How files that are no weights of PyTorch are called -> what they are.
_OTHER_NAMES = {
    "*.msgpack": "weights of Flax",
    "*.h5": "weights of TensorFlow",
    "*.pb": "a program of TensorFlow",
    "*.ckpt.index": "weights of TensorFlow",
    "*.onnx": "a program of ONNX",
    "adapter_model.*": "an adapter (LoRA); merge it into its model first",
}
_FIRST_BYTES = 64
#: Prefixes that wrappers of a network add to every name: DataParallel, torch.compile, Lightning.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
#: TensorFlow's names for weight and bias of LayerNorm, which old checkpoints have.
_OLD_NORM = re.compile(r"(layer_?norm)\.(gamma|beta)$", re.IGNORECASE)
_NORM = {"gamma": "weight", "beta": "bias"}


def weight_files(path: Path) -> list[Path]:
    """Return the files that hold published weights.

    Args:
        path: a directory in Hugging Face's layout, an index of files in its folder, or a file.

    Raises:
        BundleError: there are no weights, or an index is damaged.
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
        BundleError: a file or a tensor is missing, or a file is damaged or has another format.
    """
    entry = _entry(path)
    tensors: dict[str, Tensor] = {}
    for file in weight_files(entry):
        tensors |= _read_file(file)
    missing = sorted(_places(entry).keys() - tensors.keys()) if _is_index(entry) else []
    if missing:
        raise BundleError(f"{entry}: {missing[0][:100]} is in none of its files; get them again")
    return _usual_names(tensors, path)


def read_config(path: Path) -> dict[str, Any] | None:
    """Return `config.json` of weights in Hugging Face's layout, or None if it does not exist."""
    directory = path.parent if path.name in LAYOUTS else path
    config = directory / _CONFIG
    exists = config.exists() or config.is_symlink()  # a broken link is damage, not absence
    return read_json(config, LONGEST_CONFIG) if exists else None


def _usual_names(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return tensors without the prefixes of wrappers and under PyTorch's names of LayerNorm."""
    names = list(tensors)
    while names and (found := [x for x in _WRAPPERS if all(n.startswith(x) for n in names)]):
        names = [name.removeprefix(found[0]) for name in names]
    names = [_OLD_NORM.sub(lambda m: f"{m[1]}.{_NORM[m[2].lower()]}", name) for name in names]
    if len(set(names)) != len(names):
        raise BundleError(f"{path}: two tensors have the same name; get it again")
    return dict(zip(names, tensors.values(), strict=True))


def _entry(path: Path) -> Path:
    """Return the file of weights or the index in a directory, or the file itself."""
    if not path.is_dir():
        _refuse_other(path, [path])
        return path
    found = [path / name for name in LAYOUTS if (path / name).exists()]
    if not found and len(files := sorted(path.glob(_FOLDER))) == 1:
        return files[0]
    if not found:
        with reading(path, "give a directory that can be read", BundleError):
            _refuse_other(path, sorted(path.iterdir()))
        raise BundleError(f"{path}: holds no weights; it needs one of {', '.join(LAYOUTS)}")
    return found[0]


def _refuse_other(path: Path, files: list[Path]) -> None:
    """Refuse weights of other programs with an error that names their format."""
    for file in files:
        for pattern, what in _OTHER_NAMES.items():
            if file.match(pattern):
                raise BundleError(f"{path}: {file.name[:100]} is {what}; get PyTorch's weights")


def _is_index(path: Path) -> bool:
    return path.name.endswith(_INDEX)


def _read_file(path: Path) -> dict[str, Tensor]:
    with reading(path, "get it again", BundleError), open_regular(path) as file:
        start = file.read(_FIRST_BYTES)
    if start.startswith(_PICKLED):
        return read_state_dict(path)
    if start[8:9] != b"{":  # safetensors: the length of a JSON object in eight bytes, then that
        text = start.lstrip().lower()
        for known, what in _OTHERS:
            if text.startswith(known):
                raise BundleError(f"{path}: {what}")
    return _read_safetensors(path)


def _places(path: Path) -> dict[str, str]:
    """Return name of a tensor -> name of its file from an index; the files are in its folder."""
    places = read_json(path, LONGEST_INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
        raise BundleError(f"{path}: is no index of weights; get it again")
    names = set(places.values())
    if len(names) > _MOST_FILES:
        raise BundleError(f"{path}: names {len(names):,} files; get it again")
    for name in names:
        if not name or Path(name).name != name or _is_index(Path(name)):
            raise BundleError(
                f"{path}: names {name[:100]!r}, which is no file in its folder; get it again"
            )
    return places


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with reading(path, "give safetensors or a checkpoint of PyTorch", BundleError):
        check_header(path)
        with safe_open(path, framework="pt") as weights:
            names = list(weights.keys())
            if len(names) > MOST_TENSORS:
                raise ValueError(f"more than {MOST_TENSORS:,} tensors")
            for name in names:
                check_shape(name, tuple(weights.get_slice(name).get_shape()))
            return {name: weights.get_tensor(name) for name in names}
