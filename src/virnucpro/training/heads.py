"""Fitting a head to the features of frames.

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

#: Rows that are read at a time where order does not matter.
_BAND = 1 << 14


@dataclass(frozen=True)
class HeadRecipe:
    """Everything that decides how a head is fitted, beside the data.

    Attributes:
        hidden: width of its hidden layer.
        optimiser: `sgd` (momentum 0.9) or `adamw`.
        learning_rate: at the start.
        decay: factor of the learning rate after each `decay_epochs`.
        decay_epochs: see `decay`.
        weight_decay: of `adamw`.
        batch: frames of a step.
        epochs: at most.
        patience: epochs without a better loss on the frames held out after which it ends.
        is_standardised: whether features are scaled to mean 0 and deviation 1 first; the scaling
            becomes part of the hidden layer.
        is_balanced: whether viral and other frames count alike in the loss.
        seed: of weights, order and dropout.
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


#: As the original VirNucPro trains its head (its `train.py`); it splits by frame, we by group, and
#: it keeps the last weights where it means the best.
ORIGINAL = HeadRecipe(
    optimiser="sgd", learning_rate=2e-4, decay=0.85, decay_epochs=10, weight_decay=0.0, batch=32,
    epochs=200, patience=5, is_standardised=False, is_balanced=False,
)  # fmt: skip
RECIPES = {"default": HeadRecipe(), "original": ORIGINAL}


class Examples(NamedTuple):
    """Frames to learn from, or to hold out.

    Attributes:
        features_SF: of all frames, as they lie on disk, fp32.
        rows: those that belong here, ascending.
        is_virus: label of each of these.
    """

    features_SF: NDArray[np.float32]
    rows: NDArray[np.int64]
    is_virus: NDArray[np.bool_]

    def batches(
        self, order: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and labels of the examples in an order."""
        for start in range(0, len(order), size):
            some = np.sort(order[start : start + size])
            x_SF = torch.from_numpy(np.asarray(self.features_SF[self.rows[some]]))
            y_S = torch.from_numpy(self.is_virus[some].astype(np.int64))
            yield x_SF.to(device), y_S.to(device)


class Epoch(NamedTuple):
    """One pass over the examples.

    Attributes:
        number: from 1.
        train_loss: mean over the batches, with dropout.
        dev_loss: of the frames held out.
        dev_auroc: of the frames held out.
    """

    number: int
    train_loss: float
    dev_loss: float
    dev_auroc: float


class FittedHead(NamedTuple):
    """A head and how it came about.

    Attributes:
        state: names and tensors as published.
        epochs: all of them.
        best: number of the epoch whose weights these are.
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
    """Fit a head; the weights of the epoch with the least loss on `dev` are kept.

    The same data, recipe and kind of device give the same weights, whatever the number of threads.

    Raises:
        InputError: when features are not finite.
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
            loss = _pass(scaled, train.batches(order, recipe.batch, device), weights_2, optimiser)
            dev_loss, dev_auroc = _held_out(scaled, dev, weights_2, device)
            epochs.append(Epoch(number, loss, dev_loss, dev_auroc))
            on_epoch(epochs[-1])
            if not best or dev_loss < epochs[best - 1].dev_loss:
                best, best_state = number, scaled.state()
            elif number - best >= recipe.patience:
                break
            schedule.step()
    return FittedHead(best_state, epochs, best)


class _Scaled:
    """A head on features that are scaled before; its state takes them as they are."""

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
        """Return a copy of the weights, the scaling multiplied into the hidden layer."""
        state = {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}
        weight = state["hidden_layer.weight"].double() / self._deviation_F
        state["hidden_layer.bias"] -= (weight @ self._mean_F.double().expand(weight.shape[1])).to(
            state["hidden_layer.bias"].dtype
        )
        state["hidden_layer.weight"] = weight.float()
        return {name: tensor.cpu() for name, tensor in state.items()}


def _scale(train: Examples) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each feature."""
    total_F, squares_F = (np.zeros(train.features_SF.shape[1]) for _ in range(2))
    for start in range(0, len(train.rows), _BAND):
        x_SF = np.asarray(train.features_SF[train.rows[start : start + _BAND]], dtype=np.float64)
        total_F += x_SF.sum(axis=0)
        squares_F += np.square(x_SF).sum(axis=0)
    mean_F = total_F / len(train.rows)
    deviation_F = np.sqrt(np.maximum(squares_F / len(train.rows) - mean_F**2, 1e-12))
    if not np.isfinite(deviation_F).all():
        raise InputError("features are not finite; remove the run's directory and extract anew")
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


def _pass(
    scaled: _Scaled,
    batches: Iterator[tuple[Tensor, Tensor]],
    weights_2: Tensor | None,
    optimiser: torch.optim.Optimizer,
) -> float:
    """Do one epoch; return its mean loss."""
    scaled.head.train()
    losses = []
    for x_SF, y_S in batches:
        if len(y_S) == 1:  # one frame has no deviation for BatchNorm
            continue
        optimiser.zero_grad()
        loss = cross_entropy(scaled.logits(x_SF), y_S, weights_2)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


@torch.no_grad()
def _held_out(
    scaled: _Scaled, dev: Examples, weights_2: Tensor | None, device: torch.device
) -> tuple[float, float]:
    """Return loss and AUROC of the frames held out."""
    scaled.head.eval()
    order = np.arange(len(dev.rows))
    logits_S2 = torch.cat([scaled.logits(x_SF) for x_SF, _ in dev.batches(order, _BAND, device)])
    y_S = torch.from_numpy(dev.is_virus.astype(np.int64)).to(device)
    loss = float(cross_entropy(logits_S2, y_S, weights_2))
    if not np.isfinite(loss):
        raise InputError("features are not finite; remove the run's directory and extract anew")
    scores = (logits_S2[:, 1] - logits_S2[:, 0]).double().cpu().numpy()
    return loss, auroc(scores, dev.is_virus)
