r"""ESM C of the package `esm` (EvolutionaryScale) on random weights, and our network against it.

The package does not fit into this project's environment: fair-esm is imported by the same name, and
it needs an old transformers. So one command computes the reference, the other compares:

    python -m venv esm-c
    esm-c/bin/pip install torch==2.13.0 "transformers<4.48.2" einops biotite msgpack-numpy brotli \
        biopython scikit-learn attrs pandas cloudpathlib tenacity zstd httpx
    esm-c/bin/pip install --no-deps esm==3.2.1.post1
    esm-c/bin/python benchmarks/esm_c_reference.py write /tmp/300m --size 300m
    python benchmarks/esm_c_reference.py compare /tmp/300m

`write tests/data --size tiny` writes the reference of the tests.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Size(NamedTuple):
    """Sizes of an ESM C."""

    layers: int
    width: int
    heads: int


SIZES = {"tiny": Size(2, 64, 2), "300m": Size(30, 960, 15), "600m": Size(36, 1152, 18)}
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
#: Letters that no residue has, and some that the vocabulary lacks.
RARE = ("M", "MXBZUO", "MK.L-AV", "MJK*LJ")
LENGTHS = (61, 2, 29, 29, 130, 13, 1)
#: Longer than any tile of attention, and than what a CPU attends with held weights.
LONG = (700,)


def main() -> None:
    """Write a reference, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("write", "compare"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", choices=list(SIZES), default="300m")
    arguments = parser.parse_args()
    if arguments.command == "compare":
        compare(arguments.directory)
    else:
        write(arguments.directory, arguments.size)


def write(directory: Path, name: str) -> None:
    """Write weights, proteins, and the hidden states that the package gives."""
    from esm.models.esmc import ESMC  # noqa: PLC0415 (in its own environment)
    from esm.tokenization import EsmSequenceTokenizer  # noqa: PLC0415

    size = SIZES[name]
    network = ESMC(size.width, size.heads, size.layers, EsmSequenceTokenizer()).eval()
    draw(network)
    proteins = made_proteins(LENGTHS if name == "tiny" else LENGTHS + LONG)
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"esm_c_{name}"
    state = {key: tensor.half().contiguous() for key, tensor in network.state_dict().items()}
    save_file(state, directory / f"{stem}.weights.safetensors")
    outputs: dict[str, Tensor] = {}
    with torch.inference_mode():
        for number, protein in enumerate(proteins):
            ids = network._tokenize([protein])  # noqa: SLF001 (what `encode` calls)
            found = network(ids)
            outputs[f"{number}.ids"] = ids[0]
            outputs[f"{number}.hidden"] = found.embeddings[0]
            outputs[f"{number}.first"] = found.hidden_states[0, 0]
    save_file(
        {key: tensor.clone() for key, tensor in outputs.items()},
        directory / f"{stem}.outputs.safetensors",
    )
    described = {"size": size._asdict(), "proteins": proteins}
    (directory / f"{stem}.json").write_text(json.dumps(described, indent=1) + "\n")


def draw(network: nn.Module) -> None:
    """Draw all weights, which fp16 holds, large enough that attention is far from uniform."""
    torch.manual_seed(5)
    for name, parameter in network.named_parameters():
        is_gain = parameter.dim() == 1 and name.endswith("weight")
        spread = 0.2 if parameter.dim() == 1 else 1.5 * parameter.shape[1] ** -0.5
        nn.init.normal_(parameter, mean=float(is_gain), std=1.0 if "embed" in name else spread)
        parameter.data = parameter.data.half().float()


def made_proteins(lengths: tuple[int, ...]) -> list[str]:
    """Return rare letters and random proteins."""
    random = np.random.default_rng(4)
    return [*RARE, *("".join(random.choice(list(RESIDUES), size=n)) for n in lengths)]


@torch.inference_mode()
def compare(directory: Path) -> None:
    """Print how far our network is from each reference in a directory, in fp32 on the CPU."""
    from virnucpro.encoders import pack_sequences  # noqa: PLC0415
    from virnucpro.encoders.esm_c import EsmC, EsmCConfig, fuse_published  # noqa: PLC0415
    from virnucpro.encoders.speed import speed_up  # noqa: PLC0415
    from virnucpro.encoders.tokens import end_to_end, protein_tokens  # noqa: PLC0415

    for described in sorted(directory.glob("esm_c_*.json")):
        content = json.loads(described.read_text())
        size, proteins = Size(**content["size"]), content["proteins"]
        outputs = load_file(described.with_suffix(".outputs.safetensors"))
        state = load_file(described.with_suffix(".weights.safetensors"))
        fused = fuse_published({name: tensor.float() for name, tensor in state.items()})
        feed_forward = fused["blocks.0.down.weight"].shape[1]
        network = EsmC(EsmCConfig(*size, feed_forward, vocabulary=64)).eval()
        network.load_state_dict(fused)
        network.requires_grad_(requires_grad=False)
        tokens = protein_tokens(*end_to_end(proteins))
        order = np.random.default_rng(1).permutation(len(proteins))
        pack = pack_sequences(tokens, order, multiple_of=64)
        for way in ("plain PyTorch", speed_up):
            name = way if isinstance(way, str) else way(network, "fp32")
            parts = network(pack)[: pack.used].split(tokens.lengths[order].tolist())
            largest = relative = 0.0
            for found, number in zip(parts, order.tolist(), strict=True):
                expected = outputs[f"{number}.hidden"]
                largest = max(largest, float((found - expected).abs().max()))
                error = (found - expected).norm() / expected.norm()
                relative = max(relative, float(error))
            numbers = sum(tensor.numel() for tensor in fused.values())
            print(
                f"{described.stem}: {numbers:,} parameters, {len(tokens.ids):,} tokens packed, "
                f"{name}: largest difference {largest:.2g}, relative {relative:.2g}"
            )


if __name__ == "__main__":
    main()
