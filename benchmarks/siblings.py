"""How alike two bundles are that read six frames: their log odds of the same fragments.

    python benchmarks/siblings.py compact benchmarks/compact-twin --data DIRECTORY

Fragments are cut from DIRECTORY's virus* and other* FASTA files, either label half of them. Prints
for each length and label the mean log odds of both, and the mean and the standard deviation of the
difference.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from virnucpro.bundles import load_bundle
from virnucpro.classify.classifier import FrameClassifier, load_classifier
from virnucpro.training.classes import load_classes
from virnucpro.training.trainee import log_odds
from virnucpro.training.windows import Fragments, Library

_LENGTHS, _BATCH = (500, 300, 150), 500
_CPU = torch.device("cpu")


@torch.no_grad()
def odds_of(model: FrameClassifier, batches: list[Fragments]) -> Tensor:
    """Return the log odds of all fragments."""
    return torch.cat([log_odds(model, batch, torch.float32) for batch in batches])


def main() -> None:
    """Cut, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs=2, help="names or directories")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fragments", type=int, default=2_000)
    options = parser.parse_args()
    library = Library(load_classes([options.data]), _CPU)
    models = [load_classifier(load_bundle(x), _CPU, torch.float32) for x in options.bundles]
    print("| bp | label | first | second | difference | its sd |\n|---|---|---|---|---|---|")
    for length in _LENGTHS:
        torch.manual_seed(length)
        batches = [library.cut(_BATCH, length) for _ in range(options.fragments // _BATCH)]
        first, second = (odds_of(model, batches) for model in models)
        is_virus = torch.cat([batch.is_virus_B for batch in batches]) > 0
        for label, chosen in (("virus", is_virus), ("other", ~is_virus)):
            a, b = first[chosen], second[chosen]
            cells = [a.mean(), b.mean(), (a - b).mean(), (a - b).std()]
            print(f"| {length} | {label} | {' | '.join(f'{x:.2f}' for x in cells)} |")


if __name__ == "__main__":
    main()
