"""The recipe of the embedded `compact` bundle: one network for six frames, trained end to end.

    python -m virnucpro.training.recipe --data train --seed 1 --version 1 --out A
    python -m virnucpro.training.recipe --data train --seed 2 --version 1 --out B
    python -m virnucpro.training.recipe --data train dev --teacher A B --version V --out BUNDLE

Pretraining restores hidden windows alone. Training tells viral fragments from others, with the
class of each and the bases of hidden windows, in half of the fragments, as further tasks. Where
teachers are given, the mean of their answers to the same fragments is learned beside the labels.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from virnucpro.bundles import load_bundle
from virnucpro.classify.classifier import ClassifierConfig, FrameClassifier, load_classifier
from virnucpro.encoders.six_frames import SixFramesConfig
from virnucpro.sequences import FrameRule
from virnucpro.training.classes import ClassData, load_classes
from virnucpro.training.export import export_bundle
from virnucpro.training.loop import Loop
from virnucpro.training.trainee import Losses, Trainee, log_odds
from virnucpro.training.windows import Fragments, Library

#: Chunk lengths that the fragments prepare for, the default first.
CHUNK_LENGTHS = (500, 300)
PROVENANCE = {
    "licence": "MIT",
    "training data": "public NCBI/INSDC sequences of eight classes; see README.md beside this file",
    "weights": "trained from scratch by the virnucpro developers; no published weights inside",
}
ALL_FRAMES = FrameRule("all")


def sized(frame_layers: int, frame_width: int, layers: int, width: int) -> ClassifierConfig:
    """Return the sizes of a network that reads six frames."""
    return ClassifierConfig(SixFramesConfig(frame_layers, frame_width, layers, width), None, 128)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is trained.

    Attributes:
        network: sizes.
        pretrain_steps: steps of hidden windows alone.
        train_steps: steps of the classifier.
        bases: of a step.
        learning_rate: peak of either phase, after a warm-up and before a cosine.
        hidden_share: of the windows of a fragment.
        losses: how they are weighed.
        substitution_rate: share of bases replaced in a fragment.
        divergence: most that is replaced beside, of two fragments in three.
        weight_decay: of matrices.
        average: how much of the average of the weights each step keeps; 0 for the last weights.
        seed: seed of weights, fragments and what is hidden.
    """

    network: ClassifierConfig = field(default_factory=lambda: sized(2, 96, 4, 192))
    pretrain_steps: int = 1_230
    train_steps: int = 12_300
    bases: int = 600_000
    learning_rate: float = 8e-4
    hidden_share: float = 0.15
    losses: Losses = field(default_factory=Losses)
    substitution_rate: float = 0.003
    divergence: float = 0.2
    weight_decay: float = 0.05
    average: float = 0.999
    seed: int = 1

    def scaled(self, factor: float) -> "Recipe":
        """Return the recipe with `factor` times as many steps."""
        return replace(
            self,
            pretrain_steps=round(self.pretrain_steps * factor),
            train_steps=max(1, round(self.train_steps * factor)),
        )


def teacher_of(models: list[FrameClassifier]) -> Callable[[Fragments], Tensor]:
    """Return what says the mean log odds that classifiers give to fragments."""

    @torch.no_grad()
    def answer(fragments: Fragments) -> Tensor:
        dtype = torch.bfloat16 if fragments.bases_BL.is_cuda else torch.float32
        return torch.stack([log_odds(model, fragments, dtype) for model in models]).mean(0)

    return answer


def train(
    classes: list[ClassData],
    recipe: Recipe,
    device: torch.device,
    *,
    teacher: Callable[[Fragments], Tensor] | None = None,
    checkpoint: Path | None = None,
    seconds: float = math.inf,
    on_line: Callable[[str], None] | None = print,
    learner: type[Trainee] = Trainee,
) -> FrameClassifier | None:
    """Train a classifier by `recipe` and return it on the CPU, ready to predict.

    Args:
        classes: what fragments are cut from.
        recipe: sizes, steps and rates.
        device: where to train.
        teacher: whose answers are learned too; see `teacher_of`.
        checkpoint: where training goes on from, and is kept when the time is over.
        seconds: after which it stops.
        on_line: takes lines of progress.
        learner: what learns.

    Returns:
        the classifier; None where training is to go on from the checkpoint.
    """
    torch.manual_seed(recipe.seed)
    library = Library(classes, device)
    trainee = learner(recipe.network, recipe.losses, library.classes).to(device)
    loop = Loop(trainee, recipe, library, checkpoint, seconds, teacher, on_line)
    loop.run()
    if not loop.is_over:
        return None
    trainee.classifier.load_state_dict(loop.averaged())
    return trainee.classifier.cpu().eval()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="virus* and other*.fa")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument("--name", default="compact")
    parser.add_argument("--version", required=True, help="the bundle's version")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="times the recipe's steps")
    parser.add_argument("--size", type=int, nargs=4, metavar="N")
    parser.add_argument("--bases", type=int, default=Recipe().bases, help="of a step")
    parser.add_argument("--learning-rate", type=float, default=Recipe().learning_rate)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teacher", nargs="*", default=[], help="bundles that are learned from")
    parser.add_argument("--checkpoint", type=Path, help="to stop, and go on from")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which to stop")
    options = parser.parse_args()
    if options.minutes < math.inf and options.checkpoint is None:
        parser.error("--minutes needs --checkpoint, where training is to go on from")
    return options


def main() -> None:
    """Train and write a bundle."""
    options = _options()
    recipe = replace(
        Recipe().scaled(options.scale),
        bases=options.bases,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    if options.size:
        recipe = replace(recipe, network=sized(*options.size))
    device = torch.device(options.device)
    bundles = [load_bundle(name) for name in options.teacher]
    models = [load_classifier(bundle, device, torch.float32) for bundle in bundles]
    classifier = train(
        load_classes(options.data), recipe, device,
        teacher=teacher_of(models) if models else None,
        checkpoint=options.checkpoint, seconds=60 * options.minutes,
    )  # fmt: skip
    if classifier is None:
        print(f"the time is over; the same command goes on from {options.checkpoint}")
        return
    teachers = ", ".join(f"{b.manifest.name} {b.manifest.version}" for b in bundles)
    bundle = export_bundle(
        classifier, None, options.out,
        name=options.name, version=options.version, chunk_lengths=CHUNK_LENGTHS,
        frames=ALL_FRAMES, metrics={},
        provenance={"recipe": repr(recipe), "teachers": teachers or "none", **PROVENANCE},
    )  # fmt: skip
    print(f"wrote {bundle.path} (sha256 of its manifest: {bundle.sha256})")


if __name__ == "__main__":
    main()
