"""Cuts labelled fragments at random, on the device that trains."""

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
    """B fragments of one length L.

    Attributes:
        bases_BL: 0 to 3 for A, C, G, T; 4 for other letters and beyond the end of a short record.
        lengths_B: number of bases of each fragment.
        is_virus_B: label of each fragment, float32.
        class_B: index of the class of each fragment.
    """

    bases_BL: Tensor
    lengths_B: Tensor
    is_virus_B: Tensor
    class_B: Tensor


class Library:
    """All records of all classes on a device, from which fragments are cut.

    Half of the fragments are viral. The classes of a label are equally likely, as are both strands.

    Args:
        classes: records of each class.
        device: device that holds the records.

    Attributes:
        classes: number of classes.
    """

    def __init__(self, classes: list[ClassData], device: torch.device) -> None:
        letters = np.concatenate([c.sequences.letters_N for c in classes])
        shifts = np.cumsum([0, *(len(c.sequences.letters_N) for c in classes)])[:-1]
        borders = [c.sequences.offsets + n for c, n in zip(classes, shifts, strict=True)]
        labels = np.array([c.is_virus for c in classes])
        shares = 0.5 / np.where(labels, labels.sum(), (~labels).sum())
        odds = [
            np.diff(c.cumulative_odds, prepend=0) * p for c, p in zip(classes, shares, strict=True)
        ]

        def on_device(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(device)

        self._bases_N = on_device(BASE_NUMBERS[letters])
        self._start_R = on_device(np.concatenate([x[:-1] for x in borders]))
        self._end_R = on_device(np.concatenate([x[1:] for x in borders]))
        self._cumulative_R = on_device(np.cumsum(np.concatenate(odds)))
        self._class_R = on_device(np.repeat(np.arange(len(classes)), [len(x) for x in odds]))
        self._is_virus_C = on_device(labels.astype(np.float32))
        self.classes = len(classes)

    def cut(self, count: int, length: int) -> Fragments:
        """Return `count` fragments of `length` bases; a shorter record is a fragment as a whole."""
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
    """Replace a share of the bases of each fragment by random bases."""
    replaced = torch.rand(bases_BL.shape, device=bases_BL.device) < share_B[:, None]
    other = torch.randint_like(bases_BL, 4)
    return torch.where(replaced & (bases_BL < OTHER_BASE), other, bases_BL)


def cut_windows(bases_BL: Tensor) -> Tensor:
    """Return the bases of each window, shape (B, P, WINDOW)."""
    length = bases_BL.shape[1]
    most = -(-length // WINDOW)
    filled = pad(bases_BL, (0, most * WINDOW - length), value=OTHER_BASE)
    return cast("Tensor", filled.unflatten(1, (most, WINDOW)))


def spans_of(bases_BPW: Tensor) -> Tensor:
    """Return the bases of each window and those that follow it, shape (B, P, SPAN)."""
    filled = pad(bases_BPW.flatten(1), (0, SPAN - WINDOW), value=OTHER_BASE)
    return filled.unfold(1, SPAN, WINDOW)
