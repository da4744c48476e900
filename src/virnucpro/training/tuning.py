"""Trains a network that reads six frames further, end to end, on labelled sequences."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from virnucpro.classify.classifier import FrameClassifier
from virnucpro.encoders import Tokens
from virnucpro.encoders.six_frames import window_tokens
from virnucpro.errors import SettingsError
from virnucpro.sequences import Nucleotides, chunk_records, find_frames
from virnucpro.training.classes import ClassData, class_data
from virnucpro.training.heads import Epoch
from virnucpro.training.hyperparameters import ALL_FRAMES, Recipe
from virnucpro.training.labelled import LabelledRecord
from virnucpro.training.loop import Loop
from virnucpro.training.metrics import auroc
from virnucpro.training.trainee import Trainee
from virnucpro.training.windows import Library

#: Number of tokens of a forward pass over held-out chunks.
_BUDGET = 8192


@dataclass(frozen=True)
class Tuning:
    """Settings by which a network is trained further.

    Attributes:
        steps: number of steps.
        rounds: number of rounds; after each, the network is evaluated on held-out chunks.
        bases: bases of one step.
        learning_rate: peak of the learning rate, after a warm-up and before a cosine.
        average: decay of the moving average of the weights per step.
        seed: seed of fragments and hidden windows.
    """

    steps: int = 400
    rounds: int = 8
    bases: int = 60_000
    learning_rate: float = 2e-4
    average: float = 0.98
    seed: int = 1

    def __post_init__(self) -> None:
        """Check that each round has a step.

        Raises:
            SettingsError: there are fewer steps than rounds.
        """
        if self.rounds < 1 or self.steps < self.rounds:
            raise SettingsError(f"--steps {self.steps}: give {self.rounds} or more")


class HeldOut(NamedTuple):
    """C chunks that are not trained on.

    Attributes:
        record_C: index of the record of each chunk.
        is_virus_C: label of each chunk.
        tokens: tokens of each chunk.
    """

    record_C: NDArray[np.int64]
    is_virus_C: NDArray[np.bool_]
    tokens: Tokens


class Tuned(NamedTuple):
    """A trained network.

    Attributes:
        classifier: the classifier, on the CPU, ready to predict.
        epochs: the losses of each round.
        best: number of the round that the weights come from.
        logits_C2: logits of the held-out chunks by these weights.
    """

    classifier: FrameClassifier
    epochs: list[Epoch]
    best: int
    logits_C2: Tensor


def classes_of(records: list[LabelledRecord]) -> list[ClassData]:
    """Return the sequences to train on, by class."""
    names = sorted({record.class_name for record in records})
    return [
        class_data(name, [r.letters for r in records if r.class_name == name]) for name in names
    ]


def held_out(
    records: list[LabelledRecord], members: NDArray[np.int64], chunk_length: int
) -> HeldOut:
    """Cut the records `members` into chunks."""
    sequences = Nucleotides.join([records[i].letters for i in members.tolist()])
    record, start, end = _scorable_chunks(sequences, chunk_length)
    tokens = window_tokens(sequences.letters_N, start, end)
    record_C = members[record]
    is_virus = np.array([record.is_virus for record in records])
    return HeldOut(record_C, is_virus[record_C], tokens)


def count_chunks(
    records: list[LabelledRecord], members: NDArray[np.int64], chunk_length: int
) -> int:
    """Return the number of chunks of the records `members` that can be scored."""
    sequences = Nucleotides.join([records[i].letters for i in members.tolist()])
    return len(_scorable_chunks(sequences, chunk_length)[0])


def _scorable_chunks(
    sequences: Nucleotides, chunk_length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the record, the start and the end of each chunk that can be scored."""
    chunks = chunk_records(np.diff(sequences.offsets), chunk_length)
    shift = sequences.offsets[:-1][chunks.record]
    start, end = chunks.start + shift, chunks.end + shift
    chosen = find_frames(sequences, start, end, ALL_FRAMES).chunk
    return chunks.record[chosen], start[chosen], end[chosen]


def tune(
    classifier: FrameClassifier,
    records: list[LabelledRecord],
    dev: HeldOut,
    tuning: Tuning,
    device: torch.device,
    checkpoint: Path,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    on_step: Callable[[], None] = lambda: None,
) -> Tuned:
    """Train a network further; keep the weights of the round with the lowest loss on `dev`.

    An interrupted training resumes after its last round. The same data, settings, kind of device
    and number of threads give the same weights.

    Args:
        classifier: network that reads six frames, on the CPU.
        records: records to train on.
        dev: held-out chunks.
        tuning: settings of the training.
        device: device to train on.
        checkpoint: file to resume from.
        on_epoch: receives the losses of each round.
        on_step: called after each step.
    """
    torch.manual_seed(tuning.seed)
    recipe = Recipe(
        network=classifier.config, pretrain_steps=0, train_steps=tuning.steps, bases=tuning.bases,
        learning_rate=tuning.learning_rate, average=tuning.average, seed=tuning.seed,
    )  # fmt: skip
    library = Library(classes_of(records), device)
    trainee = Trainee(classifier.config, recipe.losses, library.classes)
    trainee.start_from(classifier)
    losses: list[Tensor] = []

    def note(loss: Tensor) -> None:
        losses.append(loss)
        on_step()

    loop = Loop(trainee.to(device), recipe, library, checkpoint, on_line=None, on_loss=note)
    epochs = [Epoch(*values) for values in loop.kept.get("epochs", [])]
    while len(epochs) < tuning.rounds:
        losses.clear()
        loop.run(until=(len(epochs) + 1) * tuning.steps // tuning.rounds)
        classifier.load_state_dict({k: x.cpu() for k, x in loop.averaged().items()})
        epoch = _evaluate(classifier, dev, device, len(epochs) + 1, _mean(losses))
        if all(epoch.dev_loss < before.dev_loss for before in epochs):
            loop.kept["best"] = {k: x.clone() for k, x in classifier.state_dict().items()}
        epochs.append(epoch)
        loop.kept["epochs"] = [tuple(values) for values in epochs]
        loop.save()
        on_epoch(epoch)
    classifier.load_state_dict(loop.kept["best"])
    best = min(epochs, key=lambda epoch: epoch.dev_loss).number
    return Tuned(classifier, epochs, best, logits_of(classifier, dev.tokens, device))


def logits_of(classifier: FrameClassifier, tokens: Tokens, device: torch.device) -> Tensor:
    """Return logits_C2 of chunks on the CPU."""
    classifier = classifier.to(device).eval()
    with torch.inference_mode():
        means_CD = classifier.embed_proteins(tokens, _BUDGET)
        found: Tensor = classifier.head(means_CD).cpu()
    classifier.cpu()
    return found.clone()


def _mean(losses: list[Tensor]) -> float:
    return float(torch.stack(losses).double().mean())


def _evaluate(
    classifier: FrameClassifier, dev: HeldOut, device: torch.device, number: int, loss: float
) -> Epoch:
    """Evaluate the network on the held-out chunks."""
    logits_C2 = logits_of(classifier, dev.tokens, device).double()
    labels = torch.from_numpy(dev.is_virus_C.astype(np.int64))
    dev_loss = float(cross_entropy(logits_C2, labels))
    odds = (logits_C2[:, 1] - logits_C2[:, 0]).numpy()
    return Epoch(number, loss, dev_loss, auroc(odds, dev.is_virus_C))
