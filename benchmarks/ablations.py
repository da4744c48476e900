"""The recipe of `compact` without a part of it: what carries the answer.

    python benchmarks/ablations.py protein --data DIRECTORY --out BUNDLE [--scale 1] [--device cuda]

`protein` knows the residue of each codon and nothing else of it: codons of one residue are alike.
`dna` knows each codon and is not told which of them code for one residue. `both` knows both, as the
recipe does. None of them is pretrained or taught. Each writes a bundle, to `virnucpro predict` and
`virnucpro evaluate` with.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from virnucpro.training.classes import load_classes
from virnucpro.training.export import export_bundle
from virnucpro.training.hyperparameters import ALL_FRAMES, CHUNK_LENGTHS, Recipe
from virnucpro.training.recipe import PROVENANCE, train
from virnucpro.training.trainee import Trainee


class OfResidues(Trainee):
    """Words are their residues."""

    def words(self) -> Tensor:
        """Return the vectors of all words, the empty one's first and zero."""
        return _after_none(self.residues[cast("Tensor", self.residue_of_word)])


class OfCodons(Trainee):
    """Words are their codons."""

    def words(self) -> Tensor:
        """Return the vectors of all words, the empty one's first and zero."""
        return _after_none(self.encoder.frames.embedding.weight[1:])


def _after_none(vectors: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(vectors[:1]), vectors])


TRAINEES = {"protein": OfResidues, "dna": OfCodons, "both": Trainee}


def main() -> None:
    """Train, and write a bundle."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=TRAINEES)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="virus* and other*.fa")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument("--scale", type=float, default=1.0, help="times the recipe's steps")
    parser.add_argument("--bases", type=int, default=Recipe().bases, help="of a step")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    recipe = replace(Recipe(), bases=options.bases, pretrain_steps=0).scaled(options.scale)
    classes, device = load_classes(options.data), torch.device(options.device)
    classifier = train(classes, recipe, device, learner=TRAINEES[options.part])
    if classifier is None:
        raise RuntimeError("training without a limit of time ended before its last step")
    bundle = export_bundle(
        classifier, None, options.out,
        name=f"compact-{options.part}", version="1", chunk_lengths=CHUNK_LENGTHS,
        frames=ALL_FRAMES, metrics={},
        provenance={"recipe": repr(recipe), "ablation": options.part, **PROVENANCE},
    )  # fmt: skip
    print(f"wrote {bundle.path}")


if __name__ == "__main__":
    main()
