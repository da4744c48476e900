"""What of this machine and this installation virnucpro can use, and what to do where it cannot."""

import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec
import psutil
import torch
from huggingface_hub.constants import HF_HUB_CACHE

from virnucpro.bundles import Bundle, load_bundle, load_model
from virnucpro.bundles.registry import ENCODERS, PUBLISHED
from virnucpro.bundles.store import DEFAULT, EMBEDDED, added_bundles, added_encoders, bundle_path
from virnucpro.encoders import Esm2Config
from virnucpro.encoders.precision import (
    computed_precisions,
    default_precision,
    ways_to_try,
)
from virnucpro.engine.devices import choose_device
from virnucpro.errors import VirnucproError
from virnucpro.storage import home

FORMAT = 1
#: Oldest versions that are supported, as in pyproject.toml.
_OLDEST = {"python": (3, 11), "torch": (2, 11)}
#: Extra -> modules that it installs.
_EXTRAS = {"anndata": ("anndata",), "ray": ("ray",), "train": ("Bio", "matplotlib", "sklearn")}
#: Bytes of a bundle whose digests are compared here; of larger ones the sizes are.
_QUICKLY_READ = 1 << 28
#: Seconds that measuring one cache may take.
_SECONDS = 1.0
#: Bytes that should be free where results and temporary files go.
_LEAST_FREE = 1 << 30
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


class Package(msgspec.Struct, frozen=True):
    """A program that virnucpro stands on; its version is empty where it is missing."""

    name: str
    version: str
    is_supported: bool


class DeviceReport(msgspec.Struct, frozen=True):
    """A device.

    Attributes:
        name: as `--device` takes it.
        kind: what sort of device.
        memory: its bytes.
        free: bytes that nobody uses.
        precisions: that it computes, or stores weights in.
        default: what `--precision auto` takes.
        ways: how encoders would be computed so, the first that proves right.
    """

    name: str
    kind: str
    memory: int
    free: int
    precisions: list[str]
    default: str
    ways: list[str]


class Weights(msgspec.Struct, frozen=True):
    """A bundle or a lone encoder.

    Attributes:
        name: as `--bundle` or `--model` takes it.
        path: where it lies.
        checked: what was compared with its manifest: `digests`, or `sizes` where it is large.
        fault: what is wrong with it; empty if nothing.
    """

    name: str
    path: str
    checked: Literal["digests", "sizes"]
    fault: str


class Place(msgspec.Struct, frozen=True):
    """A directory that fills.

    Attributes:
        what: lies there.
        path: of the directory.
        bytes: that it holds; null where that is not virnucpro's alone.
        is_partial: whether there was no time to count all of them.
        free: bytes left on its disk.
    """

    what: str
    path: str
    bytes: int | None
    is_partial: bool
    free: int


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, what to do, and whether `predict` with `compact` can run all the same."""

    what: str
    to_do: str
    is_fatal: bool = False


class Report(msgspec.Struct, frozen=True):
    """What `doctor` found.

    Attributes:
        format: version of this format.
        virnucpro: its version.
        platform: operating system and architecture.
        cores: CPU cores that this process may use.
        instructions: the widest vector instructions of the CPU that PyTorch uses.
        packages: what it stands on.
        devices: where it can compute.
        weights: bundles and lone encoders.
        places: directories that fill.
        extras: optional dependencies, and whether they are installed.
        problems: in the order of the above.
    """

    format: int
    virnucpro: str
    platform: str
    cores: int
    instructions: str
    packages: list[Package]
    devices: list[DeviceReport]
    weights: list[Weights]
    places: list[Place]
    extras: dict[str, bool]
    problems: list[Problem]

    @property
    def can_predict(self) -> bool:
        """Whether `predict` with the embedded bundle can run."""
        return not any(problem.is_fatal for problem in self.problems)

    def to_json(self) -> bytes:
        """Return the report as a file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def doctor() -> Report:
    """Look at this machine and this installation; takes seconds and changes nothing."""
    problems: list[Problem] = []
    return Report(
        format=FORMAT,
        virnucpro=version("virnucpro"),
        platform=platform.platform(),
        cores=len(psutil.Process().cpu_affinity())
        if sys.platform == "linux"
        else psutil.cpu_count(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        packages=_packages(problems),
        devices=_devices(problems),
        weights=_all_weights(problems),
        places=_places(problems),
        extras={name: all(map(_is_there, modules)) for name, modules in _EXTRAS.items()},
        problems=problems,
    )


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _packages(problems: list[Problem]) -> list[Package]:
    found = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "triton": _version("triton"),
        "cuda": str(torch.version.cuda or ""),
        "driver": _driver(),
    }
    packages = []
    for name, known in found.items():
        numbers = tuple(int(number) for number in re.findall(r"\d+", known)[:2])
        oldest = _OLDEST.get(name, ())
        packages.append(Package(name, known, numbers >= oldest))
        if numbers < oldest:
            least = ".".join(map(str, oldest))
            to_do = (
                f"pip install 'torch>={least}'" if name == "torch" else f"install Python {least}"
            )
            problems.append(Problem(f"{name} {known} is older than {least}", to_do, is_fatal=True))
    return packages


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _driver() -> str:
    """Return the version of NVIDIA's driver, empty where there is none."""
    try:
        found = re.search(r"\d+\.\d[\d.]*", _DRIVER_FILE.read_text())
    except OSError:
        return ""
    return found[0] if found else ""


def _devices(problems: list[Problem]) -> list[DeviceReport]:
    count = torch.cuda.device_count()
    if not count and _DRIVER_FILE.exists():
        what = f"there is an NVIDIA driver, but PyTorch {torch.__version__} finds no GPU"
        problems.append(
            Problem(what, "install PyTorch for CUDA (pytorch.org), or see what nvidia-smi says")
        )
    if count and not _is_there("triton"):
        problems.append(Problem("kernels for GPUs need Triton", "pip install triton"))
    found = []
    for name in (*(f"cuda:{index}" for index in range(count)), "cpu"):
        try:
            found.append(_device(name))
        except Exception as error:  # noqa: BLE001 (whatever a driver may raise)
            said = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            other = "give --device cpu, or see what nvidia-smi says"
            to_do = "pip install --force-reinstall torch" if name == "cpu" else other
            problems.append(Problem(f"{name} does not compute ({said})", to_do, is_fatal=True))
    return found


def _device(name: str) -> DeviceReport:
    """Describe a device; a small product proves that it computes."""
    chosen = choose_device(name)
    device = chosen.device
    ones = torch.ones(64, 64, device=device)
    if float((ones @ ones).sum()) != 64**3:
        raise RuntimeError("a product is wrong")
    if device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(device)
    else:
        memory, free = psutil.virtual_memory()[:2]
    heads_of_64 = Esm2Config(layers=1, width=64, heads=1)  # as ESM-2 3B has them
    precision = default_precision(device)
    return DeviceReport(
        name, chosen.kind, memory, free, computed_precisions(device), precision,
        ways_to_try(precision, heads_of_64, device),
    )  # fmt: skip


def _all_weights(problems: list[Problem]) -> list[Weights]:
    bundles, encoders = [*EMBEDDED, *added_bundles()], added_encoders()
    found = [_weights(name, is_bundle=name in bundles) for name in bundles + encoders]
    for weights in found:
        if not weights.fault:
            continue
        if weights.name in EMBEDDED:
            to_do = "pip install --force-reinstall virnucpro"
        elif weights.name in PUBLISHED or weights.name in ENCODERS:
            to_do = f"rm -r {weights.path}, then virnucpro models fetch {weights.name}"
        else:
            to_do = f"rm -r {weights.path}, then make it again"
        problems.append(Problem(weights.fault, to_do, is_fatal=weights.name == DEFAULT))
    return found


def _weights(name: str, *, is_bundle: bool) -> Weights:
    checked: Literal["digests", "sizes"] = "digests"
    fault = ""
    try:
        found = (load_bundle if is_bundle else load_model)(name, is_checked=True)
        files = found.manifest.files if isinstance(found, Bundle) else found.files
        if sum(file.bytes for file in files.values()) <= _QUICKLY_READ:
            found.check()
        else:
            checked = "sizes"
            fault = _wrong_size(found.path, {key: file.bytes for key, file in files.items()})
    except VirnucproError as error:
        fault = str(error)
    return Weights(name, str(bundle_path(name)), checked, fault)


def _wrong_size(directory: Path, expected: Mapping[str, int]) -> str:
    """Name a file that is not there or not as long as it should be; empty if there is none."""
    for name, size in expected.items():
        path = directory / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{path}: is not the file of {size:,} bytes that the manifest says"
    return ""


def _places(problems: list[Problem]) -> list[Place]:
    triton = os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache"
    caches = {"bundles": home(), "downloads": Path(HF_HUB_CACHE), "compiled kernels": Path(triton)}
    shared = {"this directory": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    found = [_place(what, path, is_own=True) for what, path in caches.items()]
    found += [_place(what, path, is_own=False) for what, path in shared.items()]
    for place in found:
        if place.free < _LEAST_FREE:
            what = f"{place.what} ({place.path}): {place.free / 2**20:,.0f} MiB are free"
            problems.append(Problem(what, "make room, or work on another disk"))
        if not os.access(_existing(Path(place.path)), os.W_OK):
            what = f"{place.what} ({place.path}): cannot be written"
            problems.append(Problem(what, "get the right to write, or work elsewhere"))
    return found


def _place(what: str, path: Path, *, is_own: bool) -> Place:
    size, is_partial = _size(path) if is_own else (None, False)
    return Place(what, str(path), size, is_partial, shutil.disk_usage(_existing(path)).free)


def _existing(path: Path) -> Path:
    """Return a path, or the nearest directory above that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _size(directory: Path) -> tuple[int, bool]:
    """Return the bytes of a directory's files, linked ones once, and whether time ran out."""
    deadline = time.monotonic() + _SECONDS
    counted: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                status = Path(place, name).lstat()
                counted[status.st_dev, status.st_ino] = status.st_size
            if time.monotonic() > deadline:
                return sum(counted.values()), True
    return sum(counted.values()), False
