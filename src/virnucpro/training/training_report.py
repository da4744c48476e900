"""The report of a training, its table of epochs, and the card of the bundle."""

from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from virnucpro.classify import ChunkScores, score_chunks
from virnucpro.classify.head import Head
from virnucpro.training.features import FeatureSet
from virnucpro.training.groups import Split
from virnucpro.training.heads import Epoch, Examples, FittedHead, HeadRecipe
from virnucpro.training.labelled import Labelled
from virnucpro.training.metrics import auroc, threshold_at
from virnucpro.training.tuning import HeldOut, Tuned, Tuning

FORMAT = 1
#: Share of false positives at which recall is measured.
_FALSE_POSITIVES = 0.05
#: Number of frames of a forward pass of the head.
_BATCH = 1 << 14


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `training.json`.

    Attributes:
        format: version of this format.
        classes: number of training sequences and of held-out sequences of each class.
        frames: number of training frames and of held-out frames.
        epochs: the losses of each epoch.
        best: number of the epoch whose weights were kept.
        recipe: settings of the training.
        metrics: measures of the held-out chunks, in all and by class.
        notes: remarks on the data.
    """

    format: int
    classes: dict[str, tuple[int, int]]
    frames: tuple[int, int]
    epochs: list[Epoch]
    best: int
    recipe: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    notes: list[str]


class Outcome(NamedTuple):
    """The outcome of a training.

    Attributes:
        epochs: the losses of each epoch.
        best: number of the epoch whose weights were kept.
        frames: number of training frames and of held-out frames.
        record_C: index of the record of each held-out chunk.
        scores: scores of the held-out chunks.
    """

    epochs: list[Epoch]
    best: int
    frames: tuple[int, int]
    record_C: NDArray[np.int64]
    scores: ChunkScores


def training_report(
    outcome: Outcome, labelled: Labelled, parts: Split, recipe: HeadRecipe | Tuning
) -> Report:
    """Return the report of a training, with measures of the held-out sequences.

    Args:
        outcome: outcome of the training.
        labelled: the labelled sequences.
        parts: which sequences were trained on, and which were held out.
        recipe: settings of the training.
    """
    classes = {}
    for name in labelled.classes:
        of_class = [i for i, r in enumerate(labelled.records) if r.class_name == name]
        counts = [int(np.isin(of_class, members).sum()) for members in (parts.train, parts.dev)]
        classes[name] = (counts[0], counts[1])
    return Report(
        format=FORMAT,
        classes=classes,
        frames=outcome.frames,
        epochs=outcome.epochs,
        best=outcome.best,
        recipe=msgspec.to_builtins(recipe),
        metrics=_metrics(outcome, labelled),
        notes=[*labelled.notes, *parts.notes],
    )


def curves_csv(epochs: list[Epoch]) -> bytes:
    """Return the epochs as a table."""
    rows = [",".join(f"{value:.6g}" for value in epoch) for epoch in epochs]
    return "\n".join([",".join(Epoch._fields), *rows, ""]).encode()


def bundle_card(report: Report, name: str, how: str) -> str:
    """Return the card of a trained bundle in Markdown; `how` tells what was trained."""
    classes = "\n".join(f"| {c} | {a:,} | {b:,} |" for c, (a, b) in report.classes.items())
    keys = sorted({key for values in report.metrics.values() for key in values})
    metrics = "\n".join(
        f"| {group} | {' | '.join(_number(key, values) for key in keys)} |"
        for group, values in report.metrics.items()
    )
    notes = "".join(f"* {note}\n" for note in report.notes)
    return f"""# {name}

{how}

## Data

| class | training sequences | held-out sequences |
|---|---|---|
{classes}

{report.frames[0]:,} frames to train on, {report.frames[1]:,} held out. No group of sequences is in
both sets.
{notes}
## Measures of the held-out sequences

These are measures of chunks with a frame; the score of a chunk is its largest P(virus) minus its
largest P(other). The epoch was chosen on these sequences, so the figures are a little too good.

| | {" | ".join(keys)} |
|---|{"---|" * len(keys)}
{metrics}

## Limits

The measures do not apply to kinds of sequences that are not among the classes above. Chunks
without a frame are not scored. P(virus) is not calibrated; `virnucpro calibrate` calibrates it.
"""


def _number(key: str, values: dict[str, float]) -> str:
    if key not in values:
        return ""
    return f"{values[key]:,.0f}" if key == "chunks" else f"{values[key]:.3f}"


def head_outcome(
    fitted: FittedHead, features: FeatureSet, train: Examples, dev: Examples
) -> Outcome:
    """Return the outcome of the training of a head."""
    frame_S6 = np.asarray(features.frame_S6[dev.rows])
    chunks, chunk_S = np.unique(frame_S6[:, :2], axis=0, return_inverse=True)
    scores = score_chunks(chunk_S.reshape(-1), _scores(fitted, dev), len(chunks))
    frames = len(train.rows), len(dev.rows)
    return Outcome(fitted.epochs, fitted.best, frames, chunks[:, 0], scores)


def network_outcome(tuned: Tuned, dev: HeldOut, train_chunks: int) -> Outcome:
    """Return the outcome of the training of a whole network on a number of chunks."""
    scores_C2 = torch.softmax(tuned.logits_C2, dim=1).numpy()
    each = np.arange(len(dev.record_C))
    scores = score_chunks(each, scores_C2, len(each))
    return Outcome(tuned.epochs, tuned.best, (train_chunks, len(each)), dev.record_C, scores)


def _metrics(outcome: Outcome, labelled: Labelled) -> dict[str, dict[str, float]]:
    """Return measures of the held-out chunks, in all and of each class."""
    scores = outcome.scores
    delta = scores.p_virus - scores.p_other
    records = [labelled.records[i] for i in outcome.record_C.tolist()]
    is_virus = np.array([record.is_virus for record in records])
    class_name = np.array([record.class_name for record in records])
    is_above = delta >= threshold_at(_FALSE_POSITIVES, delta, is_virus)
    called = scores.call == 1
    found = {
        "dev": {
            "chunks": float(len(records)),
            "auroc": auroc(delta, is_virus),
            "recall at 5 % false positives": float(is_above[is_virus].mean()),
            "recall": float(called[is_virus].mean()),
            "false positives": float(called[~is_virus].mean()),
        }
    }
    for name in labelled.classes:
        of_class = class_name == name
        if not of_class.any():
            continue
        measures = {"chunks": float(of_class.sum())}
        if is_virus[of_class].all():
            measures["recall at 5 % false positives"] = float(is_above[of_class].mean())
            measures["recall"] = float(called[of_class].mean())
        else:
            measures["false positives"] = float(called[of_class].mean())
        found[f"dev {name}"] = measures
    return found


@torch.no_grad()
def _scores(fitted: FittedHead, dev: Examples) -> NDArray[np.float32]:
    """Return P(other) and P(virus) of the held-out frames, by the kept weights."""
    hidden, width = fitted.state["hidden_layer.weight"].shape
    head = Head(width, hidden)
    head.load_state_dict(fitted.state)
    head.eval()
    batches = dev.batches(np.arange(len(dev.rows)), _BATCH, torch.device("cpu"))
    return torch.cat([torch.softmax(head(x_SF), dim=1) for x_SF, _ in batches]).numpy()
