"""Every size of ESM-2 and ESM C in every precision: memory and tokens/s, with random weights.

    python benchmarks/sizes.py --json sizes.json
    python benchmarks/sizes.py --model 3B --torchao
    python benchmarks/sizes.py --model esmc-600m --model esmc-600m-as-esm2 --precision fp16

`esmc-600m-as-esm2` is an ESM-2 of the layers and width of that ESM C: the products of a block have
12 D^2 weights in both. `--torchao` also times its weight-only 8 and 4 bits around the same steps,
without kernels of ours.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch

from checkpoints import ESM_C_SIZES, SIZES, feed_forward
from virnucpro.bench.random_inputs import protein_sample, whole_packs
from virnucpro.bundles import Model
from virnucpro.bundles.settle import settle
from virnucpro.encoders import Esm2Config, Tokens, Transformer, encode_means
from virnucpro.encoders.esm_c import EsmCConfig
from virnucpro.encoders.precision import DTYPES
from virnucpro.encoders.speed import speed_up
from virnucpro.encoders.table import build, memory_of, spec_of
from virnucpro.errors import SettingsError

_PASSES = 4
_SAMPLE = "500 bp"
Sizes = Esm2Config | EsmCConfig
CONFIGS: dict[str, Sizes] = {
    **{name: Esm2Config(*size, vocabulary=33) for name, size in SIZES.items()},
    **{
        name: EsmCConfig(*size, feed_forward(size.width), vocabulary=64)
        for name, size in ESM_C_SIZES.items()
    },
    **{f"{x}-as-esm2": Esm2Config(*size, vocabulary=33) for x, size in ESM_C_SIZES.items()},
}


def main() -> None:
    """Measure each, print a line each, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", choices=list(CONFIGS))
    parser.add_argument("--precision", action="append")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--torchao", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = []
    for model in arguments.model or [name for name in CONFIGS if name != "tiny"]:
        for precision in arguments.precision or ("fp16", "fp8", "int8", "int4"):
            try:
                found.append(one(model, precision, arguments.device, arguments.seconds))
            except (SettingsError, torch.OutOfMemoryError) as error:
                found.append({"model": model, "precision": precision, "not": str(error)[:200]})
            print(found[-1], flush=True)
        for bits in (8, 4) if arguments.torchao else ():
            try:
                found.append(by_torchao(model, bits, arguments.device, arguments.seconds))
            except Exception as error:  # noqa: BLE001 (whatever it may raise is the finding)
                found.append({"model": model, "torchao": bits, "not": str(error)[:200]})
            print(found[-1], flush=True)
    if arguments.json:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"date": date, "kind": torch.cuda.get_device_name(), "found": found}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


def one(model: str, precision: str, name: str, seconds: float) -> dict[str, Any]:
    """Measure one size in one precision."""
    config = CONFIGS[model]
    torch.cuda.empty_cache()
    device, budgets, _ = settle(name, precision, described(model, config))
    network = random_network(config, device.device, DTYPES[precision])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    backend = speed_up(network, precision)
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    smallest = least_memory(network, config, device.device)
    torch.cuda.reset_peak_memory_stats()
    rate = rate_of(network, config, budgets.protein, device.device, seconds)
    return {
        "model": model,
        "layers, width, heads": [config.layers, config.width, config.heads],
        "parameters": parameters,
        "precision": precision,
        "computed in": spec_of(config).computed(precision, device.device),
        "backend": backend,
        "GiB of weights": round(held / 2**30, 3),
        "GiB of weights, as computed before": round(memory_of(config, precision) / 2**30, 3),
        "budget": budgets.protein,
        "GiB at that budget": round(torch.cuda.max_memory_allocated() / 2**30, 2),
        "GiB at 2,048 tokens": round(smallest / 2**30, 2),
        "tokens/s": rate,
    }


def by_torchao(model: str, bits: int, name: str, seconds: float) -> dict[str, Any]:
    """Measure torchao's weight-only storage around plain steps."""
    import torchao  # noqa: PLC0415
    from torchao.quantization import (  # noqa: PLC0415
        Int4WeightOnlyConfig,
        Int8WeightOnlyConfig,
        quantize_,
    )

    config = CONFIGS[model]
    torch.cuda.empty_cache()
    device, budgets, _ = settle(name, "fp16", described(model, config))
    network = random_network(config, device.device)
    if bits == 4:
        network = network.to(torch.bfloat16)
    quantize_(network.blocks, Int8WeightOnlyConfig() if bits == 8 else Int4WeightOnlyConfig())
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    return {
        "model": model,
        "torchao": bits,
        "version": torchao.__version__,
        "GiB of weights": round(held / 2**30, 3),
        "tokens/s": rate_of(network, config, budgets.protein, device.device, seconds),
    }


def described(name: str, config: Sizes) -> Model:
    """Return an encoder without files."""
    return Model(name, "protein", config, Path(), "", {})


def random_network(
    config: Sizes, device: torch.device, dtype: torch.dtype = torch.float16
) -> Transformer:
    """Return a network of random weights on the device."""
    with torch.device("meta"):
        network = cast("Transformer", build(config)).to(dtype)
    network = network.to_empty(device=device)
    for name, parameter in network.named_parameters():
        if "norm" in name:
            parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            parameter.data.normal_(std=0.02)
    return network.eval().requires_grad_(requires_grad=False)


def rate_of(
    network: Transformer, config: Sizes, budget: int, device: torch.device, seconds: float
) -> int:
    """Return tokens/s over whole packs."""
    tokens = whole_packs(protein_sample(_SAMPLE, (_PASSES + 1) * budget), budget)
    taken = timed(network, config, tokens, budget, device)  # the first compiles
    best = taken = timed(network, config, tokens, budget, device)
    for _ in range(int(seconds // taken)):
        best = min(best, timed(network, config, tokens, budget, device))
    return round(len(tokens.ids) / best)


def timed(
    network: Transformer, config: Sizes, tokens: Tokens, budget: int, device: torch.device
) -> float:
    """Return the seconds of one round."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    encode_means(network, config.width, tokens, budget, device)
    torch.cuda.synchronize()
    return time.perf_counter() - started


def least_memory(network: Transformer, config: Sizes, device: torch.device) -> int:
    """Return the most bytes held during a pass of 2,048 tokens."""
    torch.cuda.reset_peak_memory_stats()
    encode_means(network, config.width, protein_sample(_SAMPLE, 2048), 2048, device)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    main()
