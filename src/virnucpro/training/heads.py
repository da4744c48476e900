"""Trains a head on the features of frames.

Shape legend: S frames, F features of a frame ([DNA, protein]).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from virnucpro.classify.head import Head
from virnucpro.encoders.packing import one_thread_an_operation
from virnucpro.errors import InputError
from virnucpro.training.metrics import auroc

#: Number of rows that are read at a time if their order does not matter.
_ROWS_AT_ONCE = 1 << 14
_NOT_FINITE = (
    "features are not finite; remove the output directory, then rerun to extract them again"
)


@dataclass(frozen=True)
class HeadRecipe:
    """Everything but the data that determines the trained head.

    Attributes:
        hidden: width of the hidden layer.
        optimiser: `sgd` (momentum 0.9) or `adamw`.
        learning_rate: initial learning rate.
        decay: factor by which the learning rate changes every `decay_epochs` epochs.
        decay_epochs: number of epochs between two changes of the learning rate.
        weight_decay: weight decay of `adamw`.
        batch: frames of a step.
        epochs: largest number of epochs.
        patience: number of epochs without a lower loss on held-out frames after which training
            stops.
        is_standardised: whether features are scaled to mean 0 and standard deviation 1; the scaling
            is then folded into the hidden layer.
        is_balanced: whether viral and other frames have the same total weight in the loss.
        seed: seed of weights, order and dropout.
    """

    hidden: int = 512
    optimiser: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    decay: float = 0.7
    decay_epochs: int = 2
    weight_decay: float = 0.05
    batch: int = 512
    epochs: int = 60
    patience: int = 6
    is_standardised: bool = True
    is_balanced: bool = True
    seed: int = 1


#: The recipe of the original VirNucPro (its `train.py`). The original splits by frame, we by group;
#: and it keeps the last weights, although it means to keep the best.
ORIGINAL = HeadRecipe(
    optimiser="sgd", learning_rate=2e-4, decay=0.85, decay_epochs=10, weight_decay=0.0, batch=32,
    epochs=200, patience=5, is_standardised=False, is_balanced=False,
)  # fmt: skip
RECIPES = {"default": HeadRecipe(), "original": ORIGINAL}


class Examples(NamedTuple):
    """Frames to train on, or held-out frames.

    Attributes:
        features_SF: features of all frames, as stored on disk, fp32.
        rows: rows of these frames, ascending.
        is_virus: label of each of these frames.
    """

    features_SF: NDArray[np.float32]
    rows: NDArray[np.int64]
    is_virus: NDArray[np.bool_]

    def batches(
        self, order: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and labels of batches of the examples in the given order."""
        for start in range(0, len(order), size):
            chosen = np.sort(order[start : start + size])
            x_SF = torch.from_numpy(np.asarray(self.features_SF[self.rows[chosen]]))
            y_S = torch.from_numpy(self.is_virus[chosen].astype(np.int64))
            yield x_SF.to(device), y_S.to(device)


class Epoch(NamedTuple):
    """The losses of one pass over the examples.

    Attributes:
        number: number of the epoch, counted from 1.
        train_loss: mean loss of the batches, with dropout.
        dev_loss: loss of the held-out frames.
        dev_auroc: AUROC of the held-out frames.
    """

    number: int
    train_loss: float
    dev_loss: float
    dev_auroc: float


class FittedHead(NamedTuple):
    """A trained head.

    Attributes:
        state: weights by their published names.
        epochs: the losses of each epoch.
        best: number of the epoch that the weights come from.
    """

    state: dict[str, Tensor]
    epochs: list[Epoch]
    best: int


def fit_head(
    train: Examples,
    dev: Examples,
    recipe: HeadRecipe,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> FittedHead:
    """Train a head; keep the weights of the epoch with the lowest loss on `dev`.

    The same data, recipe and kind of device give the same weights with any number of threads.

    Raises:
        InputError: features are not finite.
    """
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng(recipe.seed)
    head = Head(train.features_SF.shape[1], recipe.hidden)
    for layer in (head.hidden_layer, head.output_layer):
        torch.nn.init.xavier_uniform_(layer.weight)
    mean_F, deviation_F = _scale(train) if recipe.is_standardised else (None, None)
    scaled = _Scaled(head.to(device), mean_F, deviation_F)
    weights_2 = _class_weights(train.is_virus, recipe, device)
    optimiser = _optimiser(head, recipe)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, recipe.decay_epochs, recipe.decay)
    epochs: list[Epoch] = []
    best, best_state = 0, scaled.state()
    with one_thread_an_operation():
        for number in range(1, recipe.epochs + 1):
            order = random.permutation(len(train.rows))
            loss = _train_epoch(
                scaled, train.batches(order, recipe.batch, device), weights_2, optimiser
            )
            dev_loss, dev_auroc = _evaluate(scaled, dev, weights_2, device)
            epochs.append(Epoch(number, loss, dev_loss, dev_auroc))
            on_epoch(epochs[-1])
            if not best or dev_loss < epochs[best - 1].dev_loss:
                best, best_state = number, scaled.state()
            elif number - best >= recipe.patience:
                break
            schedule.step()
    return FittedHead(best_state, epochs, best)


class _Scaled:
    """A head that scales its features; its `state` takes features without scaling."""

    def __init__(self, head: Head, mean_F: Tensor | None, deviation_F: Tensor | None) -> None:
        self.head = head
        device = head.output_layer.weight.device
        zero, one = torch.zeros(1), torch.ones(1)
        self._mean_F = (zero if mean_F is None else mean_F).to(device)
        self._deviation_F = (one if deviation_F is None else deviation_F).to(device)

    def logits(self, features_SF: Tensor) -> Tensor:
        """Return logits_S2."""
        return cast("Tensor", self.head((features_SF - self._mean_F) / self._deviation_F))

    def state(self) -> dict[str, Tensor]:
        """Return a copy of the weights, with the scaling folded into the hidden layer."""
        state = {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}
        weight = state["hidden_layer.weight"].double() / self._deviation_F
        state["hidden_layer.bias"] -= (weight @ self._mean_F.double().expand(weight.shape[1])).to(
            state["hidden_layer.bias"].dtype
        )
        state["hidden_layer.weight"] = weight.float()
        return {name: tensor.cpu() for name, tensor in state.items()}


def _scale(train: Examples) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each feature."""
    total_F, squares_F = (np.zeros(train.features_SF.shape[1]) for _ in range(2))
    for start in range(0, len(train.rows), _ROWS_AT_ONCE):
        rows = train.rows[start : start + _ROWS_AT_ONCE]
        x_SF = np.asarray(train.features_SF[rows], dtype=np.float64)
        total_F += x_SF.sum(axis=0)
        squares_F += np.square(x_SF).sum(axis=0)
    mean_F = total_F / len(train.rows)
    deviation_F = np.sqrt(np.maximum(squares_F / len(train.rows) - mean_F**2, 1e-12))
    if not np.isfinite(deviation_F).all():
        raise InputError(_NOT_FINITE)
    return torch.from_numpy(mean_F).float(), torch.from_numpy(deviation_F).float()


def _class_weights(
    is_virus: NDArray[np.bool_], recipe: HeadRecipe, device: torch.device
) -> Tensor | None:
    if not recipe.is_balanced:
        return None
    counts = np.array([(~is_virus).sum(), is_virus.sum()])
    return torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32, device=device)


def _optimiser(head: Head, recipe: HeadRecipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(head.parameters(), recipe.learning_rate, momentum=0.9)
    return torch.optim.AdamW(
        head.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )


def _train_epoch(
    scaled: _Scaled,
    batches: Iterator[tuple[Tensor, Tensor]],
    weights_2: Tensor | None,
    optimiser: torch.optim.Optimizer,
) -> float:
    """Train for one epoch; return the mean loss."""
    scaled.head.train()
    losses = []
    for x_SF, y_S in batches:
        if len(y_S) == 1:  # BatchNorm needs two frames
            continue
        optimiser.zero_grad()
        loss = cross_entropy(scaled.logits(x_SF), y_S, weights_2)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


@torch.no_grad()
def _evaluate(
    scaled: _Scaled, dev: Examples, weights_2: Tensor | None, device: torch.device
) -> tuple[float, float]:
    """Return the loss and the AUROC of the held-out frames."""
    scaled.head.eval()
    batches = dev.batches(np.arange(len(dev.rows)), _ROWS_AT_ONCE, device)
    logits_S2 = torch.cat([scaled.logits(x_SF) for x_SF, _ in batches])
    y_S = torch.from_numpy(dev.is_virus.astype(np.int64)).to(device)
    loss = float(cross_entropy(logits_S2, y_S, weights_2))
    if not np.isfinite(loss):
        raise InputError(_NOT_FINITE)
    scores = (logits_S2[:, 1] - logits_S2[:, 0]).double().cpu().numpy()
    return loss, auroc(scores, dev.is_virus)
