"""Trains the embedded `compact` bundle: one network for six frames, trained end to end.

    python -m virnucpro.training.recipe --data train --seed 1 --version 1 --out A
    python -m virnucpro.training.recipe --data train --seed 2 --version 1 --out B
    python -m virnucpro.training.recipe --data train dev --teacher A B --version V --out BUNDLE

Pretraining only restores hidden windows. Training then tells viral fragments from others; its
further tasks are the class of each fragment, and the bases of hidden windows in half of the
fragments. With teachers, the network also learns the mean of their answers to the same fragments.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from virnucpro.bundles import load_bundle
from virnucpro.classify.classifier import FrameClassifier, load_classifier
from virnucpro.training.classes import ClassData, load_classes
from virnucpro.training.export import export_bundle
from virnucpro.training.hyperparameters import ALL_FRAMES, CHUNK_LENGTHS, Recipe, sized
from virnucpro.training.loop import Loop
from virnucpro.training.trainee import Trainee, log_odds
from virnucpro.training.windows import Fragments, Library

PROVENANCE = {
    "licence": "MIT",
    "training data": "public NCBI/INSDC sequences of eight classes; see README.md beside this file",
    "weights": "trained from scratch by the virnucpro developers; no published weights inside",
}


def teacher_of(models: list[FrameClassifier]) -> Callable[[Fragments], Tensor]:
    """Return a function from fragments to the mean log odds that the classifiers give them."""

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
        classes: the sequences that fragments are cut from.
        recipe: sizes, steps and rates.
        device: the device to train on.
        teacher: returns answers that are learned too; see `teacher_of`.
        checkpoint: file to resume from, written when the time is over.
        seconds: time after which training stops.
        on_line: takes lines of progress.
        learner: class of the trained module.

    Returns:
        the classifier, or None if the time was over first; then resume from the checkpoint.
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
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of steps")
    parser.add_argument("--size", type=int, nargs=4, metavar="N")
    parser.add_argument("--bases", type=int, default=Recipe().bases, help="bases of one step")
    parser.add_argument("--learning-rate", type=float, default=Recipe().learning_rate)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teacher", nargs="*", default=[], help="bundles to learn from")
    parser.add_argument("--checkpoint", type=Path, help="file to stop at and resume from")
    parser.add_argument("--minutes", type=float, default=math.inf, help="time after which to stop")
    options = parser.parse_args()
    if options.minutes < math.inf and options.checkpoint is None:
        parser.error("--minutes needs --checkpoint, the file to resume from")
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
        print(f"the time is over; repeat the command to resume from {options.checkpoint}")
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
