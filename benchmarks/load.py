"""From a bundle on disk to the first scores, in processes of their own.

The second one finds the kernels compiled and the file in the page cache.

    python benchmarks/load.py /tmp/bundle --json load.json
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

_PROCESSES = 2


def main() -> None:
    """Write a bundle of random weights, load it in fresh processes, print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="is written where it does not exist")
    parser.add_argument("--sizes", default="3b")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", action="store_true", help="load in this process")
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(load(arguments.bundle, arguments.device)))
        return
    if not arguments.bundle.exists():
        write(arguments.bundle, arguments.sizes, arguments.device)
    command = [sys.executable, __file__, str(arguments.bundle), "--once"]
    found = []
    for _ in range(_PROCESSES):
        started = time.perf_counter()
        run = subprocess.run(  # noqa: S603 (this file)
            [*command, "--device", arguments.device], check=True, capture_output=True, text=True
        )
        steps = json.loads(run.stdout.splitlines()[-1])
        found.append({**steps, "whole process": round(time.perf_counter() - started, 2)})
        print(found[-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def write(directory: Path, sizes: str, device: str) -> None:
    """Write a bundle of random weights in 16 bit."""
    from virnucpro.bench.random_inputs import random_classifier, sizes_of  # noqa: PLC0415
    from virnucpro.bundles.manifest import TOKENIZER_FILE  # noqa: PLC0415
    from virnucpro.bundles.settle import choose_device  # noqa: PLC0415
    from virnucpro.bundles.store import write_bundle  # noqa: PLC0415
    from virnucpro.classify.classifier import PARTS  # noqa: PLC0415

    bundle = sizes_of(sizes)
    model = random_classifier(bundle, choose_device(device))
    weights = {
        file: {k: t.cpu() for k, t in model.get_submodule(part).state_dict().items()}
        for part, file in PARTS.items()
    }
    tokenizer = (bundle.path / TOKENIZER_FILE).read_bytes()
    write_bundle(directory, bundle.manifest, weights, tokenizer)


def load(directory: Path, device: str) -> dict[str, float]:
    """Return the seconds of each step from the import to the first scores."""
    clock = [time.perf_counter()]
    import torch  # noqa: PLC0415

    from virnucpro.bench.random_inputs import blocks_of, random_reads  # noqa: PLC0415
    from virnucpro.bundles import load_bundle  # noqa: PLC0415
    from virnucpro.bundles.settle import choose_device  # noqa: PLC0415
    from virnucpro.prediction.worker import Worker  # noqa: PLC0415

    chosen = choose_device(device)
    torch.zeros(1, device=chosen.device)
    clock.append(time.perf_counter())
    bundle = load_bundle(directory)
    clock.append(time.perf_counter())
    worker = Worker(bundle, chosen, 500)
    clock.append(time.perf_counter())
    worker.score(worker.prepare(blocks_of(random_reads("mixed", 200), 200)[0]))
    clock.append(time.perf_counter())
    names = ("imports and device", "digests", "weights and kernels", "first 200 reads")
    steps = {name: round(b - a, 2) for name, a, b in zip(names, clock, clock[1:], strict=False)}
    return {**steps, "to first scores": round(clock[-1] - clock[0], 2)}


if __name__ == "__main__":
    main()
