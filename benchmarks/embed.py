"""`embed` on many proteins: tokens/s beside the encoder's alone, and memory while it goes.

    python benchmarks/embed.py /tmp/work --model 650M --sequences 100000 --json embed.json

Weights and proteins are random. The encoder alone is timed on tokens made before, in a process of
its own, on the first of the same proteins.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints import ESM_C_SIZES, SIZES, write_esm_c, write_transformers
from rehearsal import measured

_LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)
_BATCH = 10_000
#: Tokens that the encoder alone is timed on.
_TIMED_TOKENS = 1 << 21


def main() -> None:
    """Add the encoder, write proteins, embed them, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--model", choices=[*SIZES, *ESM_C_SIZES], default="650M")
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--length", type=int, default=300, help="mean; half to one and a half")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--format", default="parquet")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", action="store_true", help="time the encoder in this process")
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    os.environ["VIRNUCPRO_HOME"] = str(directory / "home")
    name = f"encoder-{arguments.model}"
    proteins = directory / f"{arguments.sequences}x{arguments.length}.fasta"
    if arguments.alone:
        print(
            json.dumps(alone(name, proteins, arguments.device.split(",")[0], arguments.precision))
        )
        return
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "home" / name).exists():
        published = directory / "published"
        if arguments.model in ESM_C_SIZES:
            weights = published / "data" / "weights" / f"{arguments.model}.pth"
            write_esm_c(weights, ESM_C_SIZES[arguments.model])
        else:
            write_transformers(published, SIZES[arguments.model])
        measured("models", "add", name, published)
        shutil.rmtree(published)
    if not proteins.exists():
        write_proteins(proteins, arguments.sequences, arguments.length)
    found = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **vars(arguments)}
    found |= {"directory": None, "json": None}
    out = directory / "out"
    shutil.rmtree(out, ignore_errors=True)
    options = ["--model", name, "--device", arguments.device, "--precision", arguments.precision]
    found |= measured("embed", proteins, *options, "--format", arguments.format, "-o", out)
    summary = json.loads((out / "summary.json").read_bytes())
    found |= {key: summary[key] for key in ("embedded", "seconds", "tokens_per_second")}
    command = [sys.executable, __file__, *sys.argv[1:], "--alone"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    found |= json.loads(answer.stdout.splitlines()[-1])
    share = found["tokens_per_second"] / found["encoder alone, tokens/s"]
    found["share of the encoder alone"] = round(share, 4)
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def write_proteins(path: Path, count: int, mean: int) -> None:
    """Write random proteins, half to one and a half times the mean length."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for first in range(0, count, _BATCH):
            lengths = rng.integers(mean // 2, mean + mean // 2 + 1, min(_BATCH, count - first))
            letters = _LETTERS[rng.integers(0, 20, lengths.sum())].tobytes()
            end = 0
            for i, length in enumerate(lengths.tolist()):
                start, end = end, end + length
                file.write(b">protein%d\n%b\n" % (first + i, letters[start:end]))


def alone(name: str, proteins: Path, device: str, precision: str) -> dict[str, Any]:
    """Return the tokens/s of the encoder on tokens made before."""
    import torch  # noqa: PLC0415

    from virnucpro.bundles import load_model  # noqa: PLC0415
    from virnucpro.bundles.settle import settle  # noqa: PLC0415
    from virnucpro.embedding.job import Embedding  # noqa: PLC0415

    model = load_model(name)
    chosen, budgets, _ = settle(device, precision, model)
    task = Embedding(name, model.sha256, model.config.layers, "mean", "float32", precision)
    embedder = task.worker(chosen, budgets)
    blocks, held = [], 0
    for block in task.cut([str(proteins)]):
        blocks.append(embedder.prepare(block))
        held += len(blocks[-1].tokens.ids)
        if held > _TIMED_TOKENS:
            break
    tokens = [block.tokens for block in blocks]
    rate = 0.0
    for _ in range(3):
        started = time.perf_counter()
        for some in tokens:
            embedder.encode(some)
        if chosen.device.type == "cuda":
            torch.cuda.synchronize()
        rate = max(rate, held / (time.perf_counter() - started))
    return {"kind": chosen.kind, "ways": embedder.backends, "encoder alone, tokens/s": round(rate)}


if __name__ == "__main__":
    main()
