"""Labelled fragments cut at random, on the device that trains."""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from virnucpro.encoders.six_frames import SPAN, WINDOW
from virnucpro.sequences import BASE_NUMBERS, OTHER_BASE
from virnucpro.training.classes import ClassData


class Fragments(NamedTuple):
    """Fragments of one length L, B in all.

    Attributes:
        bases_BL: 0 to 3 for A, C, G, T; 4 for others and behind the end of a shorter one.
        lengths_B: bases of each.
        is_virus_B: their labels, float32.
        class_B: number of the class of each.
    """

    bases_BL: Tensor
    lengths_B: Tensor
    is_virus_B: Tensor
    class_B: Tensor


class Library:
    """All records of all classes on a device, to cut fragments from.

    Either label is half of the fragments; the classes of a label are alike, and so are strands.

    Args:
        classes: what to cut from.
        device: where to.

    Attributes:
        classes: how many there are.
    """

    def __init__(self, classes: list[ClassData], device: torch.device) -> None:
        letters = np.concatenate([c.sequences.letters_N for c in classes])
        moved = np.cumsum([0, *(len(c.sequences.letters_N) for c in classes)])[:-1]
        borders = [c.sequences.offsets + by for c, by in zip(classes, moved, strict=True)]
        labels = np.array([c.is_virus for c in classes])
        shares = 0.5 / np.where(labels, labels.sum(), (~labels).sum())
        odds = [
            np.diff(c.cumulative_odds, prepend=0) * p for c, p in zip(classes, shares, strict=True)
        ]

        def here(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(device)

        self._bases_N = here(BASE_NUMBERS[letters])
        self._start_R = here(np.concatenate([x[:-1] for x in borders]))
        self._end_R = here(np.concatenate([x[1:] for x in borders]))
        self._cumulative_R = here(np.cumsum(np.concatenate(odds)))
        self._class_R = here(np.repeat(np.arange(len(classes)), [len(x) for x in odds]))
        self._is_virus_C = here(labels.astype(np.float32))
        self.classes = len(classes)

    def cut(self, count: int, length: int) -> Fragments:
        """Return `count` fragments of `length` bases, or of a whole record that is shorter."""
        device = self._bases_N.device
        drawn = torch.rand(count, dtype=torch.float64, device=device)
        record = torch.searchsorted(self._cumulative_R, drawn, right=True)
        record = record.clamp(max=len(self._cumulative_R) - 1)
        start, end = self._start_R[record], self._end_R[record]
        free = (end - start - length).clamp(min=0)
        first = start + (torch.rand(count, dtype=torch.float64, device=device) * (free + 1)).long()
        lengths = (end - start).clamp(max=length)
        places = torch.arange(length, device=device)
        is_reverse = torch.rand(count, device=device)[:, None] < 0.5
        turned = torch.where(is_reverse, lengths[:, None] - 1 - places, places)
        where = (first[:, None] + turned).clamp(0, len(self._bases_N) - 1)
        bases = self._bases_N[where]
        bases = torch.where(is_reverse & (bases < OTHER_BASE), 3 - bases, bases)
        bases = torch.where(places < lengths[:, None], bases, OTHER_BASE)
        class_B = self._class_R[record]
        return Fragments(bases, lengths, self._is_virus_C[class_B], class_B)


def substitute(bases_BL: Tensor, share_B: Tensor) -> Tensor:
    """Replace a share of the bases of each fragment by any base."""
    replaced = torch.rand(bases_BL.shape, device=bases_BL.device) < share_B[:, None]
    other = torch.randint_like(bases_BL, 4)
    return torch.where(replaced & (bases_BL < OTHER_BASE), other, bases_BL)


def cut_windows(bases_BL: Tensor) -> Tensor:
    """Return the own bases of each window, shape (B, P, WINDOW)."""
    length = bases_BL.shape[1]
    most = -(-length // WINDOW)
    filled = pad(bases_BL, (0, most * WINDOW - length), value=OTHER_BASE)
    return cast("Tensor", filled.unflatten(1, (most, WINDOW)))


def spans_of(bases_BPW: Tensor) -> Tensor:
    """Return the bases of each window and behind it, shape (B, P, SPAN)."""
    filled = pad(bases_BPW.flatten(1), (0, SPAN - WINDOW), value=OTHER_BASE)
    return filled.unfold(1, SPAN, WINDOW)
