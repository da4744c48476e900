"""Check this machine and this installation, with advice for each problem."""

import importlib.util
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil
import torch

from virnucpro.bundles import Bundle, load_bundle, load_model
from virnucpro.bundles.registry import ENCODERS, PUBLISHED
from virnucpro.bundles.settle import choose_device
from virnucpro.bundles.store import DEFAULT, EMBEDDED, added_bundles, added_encoders, bundle_path
from virnucpro.doctor.findings import FORMAT, DeviceReport, Package, Problem, Report, Weights
from virnucpro.doctor.places import places
from virnucpro.encoders import Esm2Config
from virnucpro.encoders.precision import (
    computed_precisions,
    default_precision,
)
from virnucpro.encoders.speed import backends_to_try
from virnucpro.errors import VirnucproError
from virnucpro.system.instructions import instructions

#: Oldest supported versions, as in pyproject.toml.
_OLDEST = {"python": (3, 11), "torch": (2, 11)}
#: Name of an extra -> modules that it installs.
_EXTRAS = {"anndata": ("anndata",), "ray": ("ray",), "train": ("Bio",)}
#: Largest bundle in bytes whose digests are compared; for larger ones, only file sizes are.
_QUICKLY_READ = 1 << 28
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


def doctor() -> Report:
    """Check this machine and this installation. This takes seconds and changes nothing."""
    problems: list[Problem] = []
    return Report(
        format=FORMAT,
        virnucpro=version("virnucpro"),
        platform=platform.platform(),
        cores=len(psutil.Process().cpu_affinity())
        if sys.platform == "linux"
        else psutil.cpu_count(),
        instructions=instructions(),
        packages=_packages(problems),
        devices=_devices(problems),
        weights=_all_weights(problems),
        places=places(problems),
        extras={name: all(map(_is_installed, modules)) for name, modules in _EXTRAS.items()},
        problems=problems,
    )


def _is_installed(module: str) -> bool:
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
    """Return the version of NVIDIA's driver, or an empty string if it is not installed."""
    try:
        found = re.search(r"\d+\.\d[\d.]*", _DRIVER_FILE.read_text())
    except OSError:
        return ""
    return found[0] if found else ""


def _devices(problems: list[Problem]) -> list[DeviceReport]:
    count = torch.cuda.device_count()
    if not count and _DRIVER_FILE.exists():
        what = f"an NVIDIA driver is installed, but PyTorch {torch.__version__} finds no GPU"
        problems.append(
            Problem(what, "install PyTorch for CUDA (pytorch.org), or check with nvidia-smi")
        )
    if count and not _is_installed("triton"):
        problems.append(Problem("the GPU kernels need Triton", "pip install triton"))
    found = []
    for name in (*(f"cuda:{index}" for index in range(count)), "cpu"):
        try:
            found.append(_device(name))
        except Exception as error:  # noqa: BLE001 (whatever a driver may raise)
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            other = "give --device cpu, or check with nvidia-smi"
            to_do = "pip install --force-reinstall torch" if name == "cpu" else other
            problems.append(Problem(f"{name} does not work ({reason})", to_do, is_fatal=True))
    return found


def _device(name: str) -> DeviceReport:
    """Describe a device and check with a small matrix product that it works."""
    chosen = choose_device(name)
    device = chosen.device
    ones = torch.ones(64, 64, device=device)
    if float((ones @ ones).sum()) != 64**3:
        raise RuntimeError("a matrix product is wrong")
    if device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(device)
    else:
        memory, free = psutil.virtual_memory()[:2]
    heads_of_64 = Esm2Config(layers=1, width=64, heads=1, vocabulary=33)  # as ESM-2 3B has them
    precision = default_precision(device)
    return DeviceReport(
        name, chosen.kind, memory, free, computed_precisions(device), precision,
        backends_to_try(precision, heads_of_64, device),
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
            to_do = f"rm -r {weights.path}, then create it again"
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
    """Return a message about the first missing file or wrong size, or an empty string."""
    for name, size in expected.items():
        path = directory / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{path}: is missing or does not have the {size:,} bytes that the manifest says"
    return ""
