"""From this tree to an installed program: a wheel, an empty environment, the examples, the sizes.

    python benchmarks/install.py /tmp/install --json install.json
    python benchmarks/install.py /tmp/install-cpu --first torch==2.13.0+cpu --json install-cpu.json

Needs the network, for what virnucpro depends on.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import venv
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = [ROOT / "examples" / name for name in ("reads.fastq.gz", "contigs.fasta")]
_LARGEST = 10


def main() -> None:
    """Build, install and predict in `directory`; print how long and how large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="new; holds wheel, environment and results")
    parser.add_argument("--first", metavar="REQUIREMENT", help="is installed before the wheel")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    directory.mkdir(parents=True)
    wheel, python = directory / "wheel", directory / "environment" / "bin" / "python"
    clock = [time.perf_counter()]
    _call(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheel, ROOT)
    clock.append(time.perf_counter())
    venv.create(directory / "environment", with_pip=True)
    empty = size_of(directory / "environment")
    clock.append(time.perf_counter())
    (built,) = wheel.glob("virnucpro-*.whl")
    for wanted in filter(None, (arguments.first, built)):
        _call(python, "-m", "pip", "install", "--no-cache-dir", wanted)
    clock.append(time.perf_counter())
    results = directory / "results"
    _call(python.with_name("virnucpro"), "predict", *EXAMPLES, "-o", results)
    clock.append(time.perf_counter())
    summary = json.loads((results / "summary.json").read_bytes())
    steps = ("wheel", "empty environment", "pip install", "predict")
    packages = sizes_of_packages(directory / "environment")
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "wheel_bytes": built.stat().st_size,
        "installed_bytes": size_of(directory / "environment") - empty,
        "packages": packages,
        "seconds": {
            step: round(b - a, 1) for step, a, b in zip(steps, clock, clock[1:], strict=False)
        },
        "records": summary["records"],
        "calls": summary["calls"],
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({**found, "packages": len(packages)}, indent=2))
    for name, size in list(packages.items())[:_LARGEST]:
        print(f"{size / 1e6:8.1f} MB  {name}")


def size_of(path: Path) -> int:
    """Return the bytes that files take on disk, as `du` counts them; links are not followed."""
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_blocks * 512 for file in files)


def sizes_of_packages(environment: Path) -> dict[str, int]:
    """Return the bytes on disk of each package with its compiled files, the largest first."""
    (folder,) = environment.glob("lib/python3*/site-packages")
    sizes = {}
    for package in metadata.distributions(path=[str(folder)]):
        paths = {Path(str(file.locate())) for file in package.files or ()}
        size = sum(path.lstat().st_blocks * 512 for path in paths if path.is_file())
        sizes[f"{package.name} {package.version}"] = size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _call(*command: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(  # noqa: S603 (pip and virnucpro)
        [*map(str, command)], check=True, env=environment, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
