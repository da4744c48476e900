"""The recipe of the embedded `compact` bundle: pretrain both encoders, then train end to end.

    python -m virnucpro.training.recipe --data DIRECTORY --out BUNDLE [--device cuda]

Pretraining hides tokens of open frames and asks both encoders to restore them; training then
tells viral frames from others, with the hidden tokens of half of the frames as a second task.
"""

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from virnucpro.bundles import load_bundle
from virnucpro.classify.model import ClassifierConfig, FrameClassifier
from virnucpro.encoders import DnabertSConfig, Esm2Config, Pack
from virnucpro.encoders.packing import mean_pool
from virnucpro.encoders.tokens import ESM2_MASK
from virnucpro.training.export import export_bundle
from virnucpro.training.fragments import (
    ClassData,
    Cutting,
    FrameBatch,
    FrameBatches,
    load_classes,
    mask_tokens,
)

#: Chunk lengths that the fragments prepare for, the default first.
CHUNK_LENGTHS = (500, 300)
PROVENANCE = {
    "licence": "MIT; dna_tokenizer.json is DNABERT-2's (Apache-2.0)",
    "training data": "public NCBI/INSDC sequences of eight classes; see README.md beside this file",
    "weights": "trained from scratch by the virnucpro developers; no published weights inside",
}

#: Token ids that may be hidden and guessed: residues (ESM-2 4..23), bases and byte pairs (5..).
_PROTEIN_TOKENS = (4, 24)
_DNA_TOKENS = (5, 4096)
_DNA_MASK = 4


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


class Trainee(nn.Module):
    """The classifier and what only training needs: the outputs that guess hidden tokens."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.classifier = FrameClassifier(recipe.network)
        self.protein_bias = nn.Parameter(torch.zeros(recipe.network.protein.vocabulary))
        self.dna_bias = nn.Parameter(torch.zeros(recipe.network.dna.vocabulary))
        for parameter in self.classifier.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def losses(
        self, batch: FrameBatch, mask_rate: float, *, classify: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden-token loss and the classifier's loss (0 when not asked for)."""
        model = self.classifier
        share = torch.ones(len(batch.is_virus), device=model.device) * mask_rate
        if classify:
            share = share * (torch.rand_like(share) < 0.5)
        protein_TD, protein_loss = _restore(
            model.protein_encoder, batch.protein, batch.protein_place, share,
            _PROTEIN_TOKENS, ESM2_MASK, self.protein_bias,
        )  # fmt: skip
        dna_TD, dna_loss = _restore(
            model.dna_encoder, batch.dna, batch.dna_place, share,
            _DNA_TOKENS, _DNA_MASK, self.dna_bias,
        )  # fmt: skip
        if not classify:
            return protein_loss + dna_loss, torch.zeros((), device=model.device)
        protein_SD = mean_pool(protein_TD, batch.protein, trim=1)[batch.protein_place]
        dna_SD = mean_pool(dna_TD, batch.dna)[batch.dna_place]
        logits = model.head(dna_SD, protein_SD)
        return protein_loss + dna_loss, cross_entropy(logits.float(), batch.is_virus)


def _restore(
    encoder: nn.Module,
    pack: Pack,
    place: Tensor,
    share_S: Tensor,
    token_range: tuple[int, int],
    mask_id: int,
    bias_V: Tensor,
) -> tuple[Tensor, Tensor]:
    """Hide tokens of a pack and return its hidden states and the loss of guessing them."""
    share_in_pack_S = torch.empty_like(share_S).scatter_(0, place, share_S)
    rate_T = share_in_pack_S.repeat_interleave(
        pack.cu_seqlens.diff(), output_size=len(pack.tokens_T)
    )
    masked_T, chosen_T = mask_tokens(pack.tokens_T, *token_range, mask_id, rate_T)
    hidden_TD = encoder(pack._replace(tokens_T=masked_T))
    embedding_VD = encoder.get_parameter("embedding.weight")
    logits = nn.functional.linear(hidden_TD[chosen_T], embedding_VD, bias_V)
    return hidden_TD, cross_entropy(logits.float(), pack.tokens_T[chosen_T])


def train(
    classes: list[ClassData],
    tokenizer_json: bytes,
    recipe: Recipe,
    device: torch.device,
    workers: int,
) -> FrameClassifier:
    """Train a classifier by `recipe` and return it on the CPU, ready to predict.

    Args:
        classes: what fragments are cut from.
        tokenizer_json: content of the DNA tokenizer's file.
        recipe: sizes, steps and rates.
        device: where to train.
        workers: processes that prepare fragments.
    """
    torch.manual_seed(recipe.seed)
    trainee = Trainee(recipe).to(device)
    cutting = Cutting(recipe.fragments, recipe.substitution_rate, recipe.seed)
    batches = FrameBatches(classes, tokenizer_json, cutting)
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    stream = iter(loader)
    _run_phase("pretrain", trainee, islice(stream, recipe.pretrain_steps), recipe)
    _run_phase("train", trainee, islice(stream, recipe.train_steps), recipe)
    return trainee.classifier.cpu().eval()


def _run_phase(name: str, trainee: Trainee, batches: Iterator[FrameBatch], recipe: Recipe) -> None:
    classify = name == "train"
    steps = recipe.train_steps if classify else recipe.pretrain_steps
    optimizer = _optimizer(trainee, recipe)
    device = trainee.classifier.device
    started, window = time.monotonic(), torch.zeros(2, device=device)
    every = max(1, steps // 20)
    trainee.train()
    for step, batch in enumerate(batches):
        rate = recipe.learning_rate * _schedule(step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            restore, decide = trainee.losses(batch.to(device), recipe.mask_rate, classify=classify)
        (decide + recipe.mask_weight * restore if classify else restore).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        window += torch.stack([restore.detach(), decide.detach()])
        if (step + 1) % every == 0:
            hidden, virus = (window / every).tolist()
            per_second = (step + 1) / (time.monotonic() - started)
            print(
                f"{name} {step + 1}/{steps}  hidden tokens {hidden:.3f}  virus {virus:.4f}  "
                f"{per_second:.1f} steps/s",
                flush=True,
            )
            window.zero_()


def _optimizer(trainee: Trainee, recipe: Recipe) -> torch.optim.Optimizer:
    decayed = [p for p in trainee.parameters() if p.dim() == 2]
    others = [p for p in trainee.parameters() if p.dim() != 2]
    groups: Iterable[dict[str, object]] = (
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    )
    fused = trainee.classifier.device.type == "cuda"
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=fused)


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak rate: 5 % linear warm-up, then a cosine to 2 %."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


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
    options = parser.parse_args()
    recipe = Recipe().scaled(options.scale)
    tokenizer_json = load_bundle("compact").tokenizer_json()
    classes = load_classes(options.data)
    classifier = train(
        classes, tokenizer_json, recipe, torch.device(options.device), options.workers
    )
    bundle = export_bundle(
        classifier,
        tokenizer_json,
        options.out,
        name=options.name,
        version=options.version,
        chunk_lengths=CHUNK_LENGTHS,
        provenance={"recipe": repr(recipe), **PROVENANCE},
        metrics={},
    )
    print(f"wrote {bundle.path} (sha256 of its manifest: {bundle.sha256})")


if __name__ == "__main__":
    main()
