"""The recipe of the embedded `compact` bundle: pretrain both encoders, then train end to end.

    python -m virnucpro.training.recipe --data DIRECTORY --out BUNDLE [--device cuda]

Pretraining hides tokens of open frames and asks both encoders to restore them; training then
tells viral frames from others, with the hidden tokens of half of the frames as a second task.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch
from torch.utils.data import DataLoader

from virnucpro.bundles import load_bundle
from virnucpro.classify.model import ClassifierConfig, FrameClassifier, load_classifier
from virnucpro.encoders import DnabertSConfig, Esm2Config
from virnucpro.sequences import OPEN_FRAMES, FrameRule
from virnucpro.sequences.frames import FrameKind
from virnucpro.training.export import export_bundle
from virnucpro.training.fragments import (
    ClassData,
    Cutting,
    FrameBatch,
    FrameBatches,
    load_classes,
)
from virnucpro.training.loop import Loop
from virnucpro.training.trainee import Teacher, Trainee

#: Chunk lengths that the fragments prepare for, the default first.
CHUNK_LENGTHS = (500, 300)
PROVENANCE = {
    "licence": "MIT; dna_tokenizer.json is DNABERT-2's (Apache-2.0)",
    "training data": "public NCBI/INSDC sequences of eight classes; see README.md beside this file",
    "weights": "trained from scratch by the virnucpro developers; no published weights inside",
}

#: Added to the seed of fragments each time that training goes on from a checkpoint.
_RESUMED = 7919

#: Sizes of `compact`: about 400 reads of 500 bp a second on two CPU cores.
COMPACT = ClassifierConfig(
    protein=Esm2Config(layers=5, width=128, heads=4),
    dna=DnabertSConfig(layers=2, width=128, heads=4, feed_forward=256),
    head_hidden=128,
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is trained.

    Attributes:
        network: sizes.
        pretrain_steps: steps of hidden tokens alone.
        train_steps: steps of the classifier.
        fragments: fragments a step; about 0.8 open frames each.
        learning_rate: peak of either phase, after a warm-up and before a cosine.
        mask_rate: share of tokens hidden.
        mask_weight: weight of the hidden tokens beside the classifier's loss.
        substitution_rate: share of bases replaced in a fragment.
        weight_decay: of matrices.
        average: how much of the average of the weights each step keeps; 0 for the last weights.
        frames: how frames are drawn from fragments.
        seed: seed of weights, fragments and masks.
    """

    network: ClassifierConfig = COMPACT
    pretrain_steps: int = 1499
    train_steps: int = 5996
    fragments: int = 2048
    learning_rate: float = 8e-4
    mask_rate: float = 0.15
    mask_weight: float = 0.2
    substitution_rate: float = 0.003
    weight_decay: float = 0.01
    average: float = 0.0
    frames: FrameRule = OPEN_FRAMES
    seed: int = 1

    def scaled(self, factor: float) -> "Recipe":
        """Return the recipe with `factor` times as many steps."""
        return replace(
            self,
            pretrain_steps=max(1, round(self.pretrain_steps * factor)),
            train_steps=max(1, round(self.train_steps * factor)),
        )


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the description's lines and shows defaults."""


def train(
    classes: list[ClassData],
    tokenizer_json: bytes,
    recipe: Recipe,
    device: torch.device,
    workers: int,
    *,
    teacher: Teacher | None = None,
    checkpoint: Path | None = None,
    seconds: float = math.inf,
) -> FrameClassifier | None:
    """Train a classifier by `recipe` and return it on the CPU, ready to predict.

    Args:
        classes: what fragments are cut from.
        tokenizer_json: content of the DNA tokenizer's file.
        recipe: sizes, steps and rates.
        device: where to train.
        workers: processes that prepare fragments.
        teacher: whose answers are learned too.
        checkpoint: where training goes on from, and is kept when the time is over.
        seconds: after which it stops.

    Returns:
        the classifier; None where training is to go on from the checkpoint.
    """
    torch.manual_seed(recipe.seed)
    trainee = Trainee(recipe.network).to(device)
    loop = Loop(trainee, recipe, checkpoint, seconds, teacher)

    def batches_of(times_resumed: int) -> Iterator[FrameBatch]:
        seed = recipe.seed + _RESUMED * times_resumed
        cutting = Cutting(recipe.fragments, recipe.substitution_rate, seed, recipe.frames)
        batches = FrameBatches(classes, tokenizer_json, cutting)
        return iter(DataLoader(batches, batch_size=None, num_workers=workers))

    loop.run(batches_of)
    if not loop.is_over:
        return None
    trainee.classifier.load_state_dict(loop.averaged())
    return trainee.classifier.cpu().eval()


def _recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the recipe with what the command line changes."""
    recipe = replace(
        Recipe().scaled(options.scale),
        average=options.average,
        frames=FrameRule(options.frames, options.least_residues),
    )
    if options.fragments:
        recipe = replace(recipe, fragments=options.fragments)
    protein, dna = recipe.network.protein, recipe.network.dna
    width = options.width or protein.width
    heads = width // (protein.width // protein.heads)
    protein = replace(protein, layers=options.layers or protein.layers, width=width, heads=heads)
    dna = replace(dna, width=width, heads=heads, feed_forward=2 * width)
    return replace(recipe, network=replace(recipe.network, protein=protein, dna=dna))


def main() -> None:
    """Train and write a bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--data", type=Path, required=True, help="FASTA files virus* and other*")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument("--name", default="compact")
    parser.add_argument("--version", required=True, help="the bundle's version")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=14, help="processes that cut fragments")
    parser.add_argument("--scale", type=float, default=1.0, help="times the recipe's steps")
    parser.add_argument("--frames", choices=get_args(FrameKind), default="open")
    parser.add_argument("--least-residues", type=int, default=1)
    parser.add_argument("--layers", type=int, help="of the protein encoder")
    parser.add_argument("--width", type=int, help="of both encoders")
    parser.add_argument("--fragments", type=int, help="of a step")
    parser.add_argument("--average", type=float, default=0.0)
    parser.add_argument("--teacher", help="a bundle that is learned from")
    parser.add_argument("--teacher-weight", type=float, default=0.5)
    parser.add_argument("--checkpoint", type=Path, help="to stop, and go on from")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which to stop")
    options = parser.parse_args()
    recipe = _recipe_of(options)
    device = torch.device(options.device)
    tokenizer_json = load_bundle("compact").tokenizer_json()
    teacher = None
    if options.teacher:
        model = load_classifier(load_bundle(options.teacher), device, torch.float32)
        teacher = Teacher(model, options.teacher_weight)
    classifier = train(
        load_classes(options.data), tokenizer_json, recipe, device, options.workers,
        teacher=teacher, checkpoint=options.checkpoint, seconds=60 * options.minutes,
    )  # fmt: skip
    if classifier is None:
        print(f"the time is over; the same command goes on from {options.checkpoint}")
        return
    bundle = export_bundle(
        classifier,
        tokenizer_json,
        options.out,
        name=options.name,
        version=options.version,
        chunk_lengths=CHUNK_LENGTHS,
        frames=recipe.frames,
        provenance={"recipe": repr(recipe), **PROVENANCE},
        metrics={},
    )
    print(f"wrote {bundle.path} (sha256 of its manifest: {bundle.sha256})")


if __name__ == "__main__":
    main()
