"""The protein encoder beside other implementations of it, with the same weights, in one process.

On a GPU with the sizes of ESM-2 3B, on a CPU with those of compact-pair; weights are random and
such that activations have the outliers of trained models (outliers.py). Every variant is timed in
turn.

    python benchmarks/encoders.py --json encoders.json
"""

import argparse
import copy
import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from outliers import fill_with_outliers
from references import Batch, fair_esm, hidden_of, padded_batches, reference_means, transformers_esm
from virnucpro.bench.floor import products_alone
from virnucpro.bench.random_inputs import (
    PUBLISHED_SIZES,
    SAMPLES,
    SMALL_SIZES,
    protein_sample,
    sizes_of,
    whole_packs,
)
from virnucpro.bench.timing import in_turn
from virnucpro.bundles.settle import choose_budgets, choose_device
from virnucpro.encoders import Esm2, Tokens, encode_means
from virnucpro.encoders.precision import DTYPES
from virnucpro.encoders.speed import speed_up

if TYPE_CHECKING:
    from virnucpro.encoders import Esm2Config

#: The original's batches (SEMANTICS of VirNucPro: fair-esm's get_batch_indices(2048)).
_ORIGINAL_BUDGET = 2048
_TRANSFORMERS_BUDGET = {"cuda": 16_384, "cpu": 2048}
#: Passes of ours that a sample fills.
_PASSES = {"cuda": 2, "cpu": 16}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each variant and sample")
    parser.add_argument("--sample", action="append", choices=list(SAMPLES), help="default: all")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    chosen = choose_device(arguments.device)
    is_gpu = chosen.device.type == "cuda"
    bundle = sizes_of(PUBLISHED_SIZES if is_gpu else SMALL_SIZES)
    budget = choose_budgets(chosen, [bundle.manifest.protein_encoder]).protein
    passes = _PASSES[chosen.device.type]
    precisions = ("fp16", "bf16", "fp8") if is_gpu else ("fp32",)
    config = cast("Esm2Config", bundle.manifest.protein_encoder)
    network = Esm2(config).to(chosen.device).eval()
    network.requires_grad_(requires_grad=False)
    fill_with_outliers(network)
    network = network.half().float()  # the same numbers in every precision but bf16 and fp8
    others = {
        "fair-esm fp32": (fair_esm(network), _ORIGINAL_BUDGET),
        "transformers": (
            transformers_esm(network, torch.bfloat16 if is_gpu else torch.float32),
            _TRANSFORMERS_BUDGET[chosen.device.type],
        ),
    }
    exact = transformers_esm(network, torch.float32) if is_gpu else others["transformers"][0]
    ours = {"fp32": network} | {
        name: copy.deepcopy(network).to(DTYPES[name]) for name in precisions if name != "fp32"
    }
    for name in precisions:
        print(f"{name}: {speed_up(ours[name], name)}", flush=True)
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": chosen.kind,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "sizes": bundle.manifest.name,
        "token_budget": budget,
        "parity": parity(ours, exact, others["fair-esm fp32"][0], budget, chosen.device),
        "tokens_per_second": {},
    }
    del exact
    floors = {
        f"floor {name}": products_alone(
            network.config, budget, passes, name, chosen.device, DTYPES[name]
        )
        for name in precisions
    }
    for sample in arguments.sample or SAMPLES:
        tokens = whole_packs(protein_sample(sample, (passes + 1) * budget), budget)
        rates = speeds(tokens, ours, others, floors, budget, arguments.seconds, chosen.device)
        result["tokens_per_second"][sample] = rates
        print_rates(sample, rates)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def parity(
    ours: dict[str, Esm2],
    exact: torch.nn.Module,
    original: torch.nn.Module,
    budget: int,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Compare pooled means of a mixed sample with transformers' and fair-esm's in fp32."""
    tokens = protein_sample("mixed", 8192)
    batches = padded_batches(tokens, _ORIGINAL_BUDGET, device)
    expected = reference_means(exact, batches).double()
    found = {"fair-esm fp32": reference_means(original, batches)}
    for name, network in ours.items():
        found[f"ours {name}"] = means_of(network, tokens, budget, device)
    centre = expected.mean(dim=0)
    result = {}
    for name, rows in found.items():
        means = rows.double()
        apart = cosine_similarity(means - centre, expected - centre)
        result[name] = {
            "largest relative error": float(
                ((means - expected).norm(dim=1) / expected.norm(dim=1)).max()
            ),
            "smallest cosine": float(cosine_similarity(means, expected).min()),
            "smallest cosine about the mean": float(apart.min()),
        }
        print(f"{name} against transformers fp32: {result[name]}", flush=True)
    return result


def means_of(network: Esm2, tokens: Tokens, budget: int, device: torch.device) -> Tensor:
    """Embed with ours."""
    return encode_means(network, network.config.width, tokens, budget, device)


def speeds(
    tokens: Tokens,
    ours: dict[str, Esm2],
    others: dict[str, tuple[torch.nn.Module, int]],
    floors: dict[str, Callable[[], None]],
    budget: int,
    seconds: float,
    device: torch.device,
) -> dict[str, float]:
    """Return tokens/s of every variant and floor on one sample."""
    variants: dict[str, Callable[[], object]] = dict(floors)
    counts = dict.fromkeys(floors, _PASSES[device.type] * budget)
    for name, network in ours.items():
        if name == "fp32" and device.type == "cuda":
            continue
        variants[f"ours {name}"] = partial(means_of, network, tokens, budget, device)
        counts[f"ours {name}"] = len(tokens.ids)
    for name, (reference, reference_budget) in others.items():
        batches = padded_batches(tokens, reference_budget, device)
        if device.type == "cuda":  # the slow ones need not see all
            batches = batches[:: max(1, len(batches) // 3)]
        variants[name] = partial(run_batches, reference, batches)
        counts[name] = int(sum(tokens.lengths[which].sum() for which, _ in batches))
    times = in_turn(variants, seconds, device)
    return {name: round(counts[name] / taken) for name, taken in times.items()}


def run_batches(reference: torch.nn.Module, batches: list[Batch]) -> None:
    """Embed with another implementation."""
    for _, ids in batches:
        hidden_of(reference, ids)


def print_rates(sample: str, rates: dict[str, float]) -> None:
    """Print a sample's table."""
    print(f"\n{sample}: tokens/s, share of floor, times fair-esm, times transformers", flush=True)
    for name, rate in rates.items():
        floor = rates.get(name.replace("ours", "floor"))
        share = f"{rate / floor:6.3f}" if floor and name.startswith("ours") else "      "
        print(
            f"  {name:<16}{rate:>10,}  {share}  {rate / rates['fair-esm fp32']:6.1f}"
            f"  {rate / rates['transformers']:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
