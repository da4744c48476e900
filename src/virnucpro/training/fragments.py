"""Labelled fragments cut at random from class-named FASTA files, as the encoders see them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from virnucpro.encoders import DnaTokenizer, Pack, Tokens, pack_sequences, protein_tokens
from virnucpro.errors import InputError
from virnucpro.sequences import OPEN_FRAMES, FrameRule, Nucleotides, SequenceFile, find_frames

#: Fragment lengths in bases and how often each is cut.
FRAGMENT_LENGTHS = {150: 0.15, 200: 0.1, 250: 0.1, 300: 0.2, 400: 0.1, 500: 0.35}
#: A record is drawn in proportion to its length, up to this many bases.
LONGEST_WEIGHT = 50_000
#: DNA is cropped to a multiple of this many byte pairs, so that a batch has few lengths and a
#: GPU few, large products.
DNA_MULTIPLE = 8
_BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
_LABELS = {"virus": True, "other": False}


class ClassData(NamedTuple):
    """The records of one class, end to end.

    Attributes:
        name: the file's name up to its first dot.
        is_virus: its label.
        sequences: the letters.
        cumulative_odds: chance that a record or one before it is drawn.
    """

    name: str
    is_virus: bool
    sequences: Nucleotides
    cumulative_odds: NDArray[np.float64]


class FrameBatch(NamedTuple):
    """Open frames of fragments, packed, with their labels.

    Attributes:
        protein: ESM-2's pack, sorted by length.
        dna: DNABERT-S's pack, sorted by length.
        protein_place: where in the protein pack each frame lies, shape (S,).
        dna_place: where in the DNA pack each frame lies, shape (S,).
        is_virus: label of each frame's fragment, shape (S,), int64.
    """

    protein: Pack
    dna: Pack
    protein_place: Tensor
    dna_place: Tensor
    is_virus: Tensor

    def to(self, device: torch.device) -> "FrameBatch":
        """Return the batch with its tensors on `device`."""
        return FrameBatch(
            self.protein.to(device),
            self.dna.to(device),
            self.protein_place.to(device),
            self.dna_place.to(device),
            self.is_virus.to(device),
        )


class Cutting(NamedTuple):
    """How fragments are cut.

    Attributes:
        fragments: fragments of a batch.
        substitution_rate: share of bases replaced.
        seed: seed of all random choices.
        frames: how frames are drawn.
    """

    fragments: int
    substitution_rate: float
    seed: int
    frames: FrameRule = OPEN_FRAMES


def load_classes(directory: Path) -> list[ClassData]:
    """Read every file of `directory` named `virus*` or `other*`.

    Raises:
        InputError: when one of the two labels has no file.
    """
    classes = []
    for path in sorted(directory.iterdir()):
        name = path.name.split(".")[0]
        label = next((y for prefix, y in _LABELS.items() if name.startswith(prefix)), None)
        if label is None:
            continue
        with SequenceFile(str(path)) as file:
            sequences = Nucleotides.join([record.sequence for record in file])
        odds = np.cumsum(np.minimum(np.diff(sequences.offsets), LONGEST_WEIGHT))
        classes.append(ClassData(name, label, sequences, odds / odds[-1]))
    if {c.is_virus for c in classes} != {True, False}:
        raise InputError(f"{directory}: needs FASTA files named virus* and other*")
    return classes


class FragmentSampler:
    """Cuts fragments: either label half of them, classes of a label alike, either strand.

    Args:
        classes: what to cut from.
        substitution_rate: share of bases replaced.
        seed: seed of all random choices.
    """

    def __init__(self, classes: list[ClassData], substitution_rate: float, seed: int) -> None:
        self.classes = classes
        self.substitution_rate = substitution_rate
        self.random = np.random.default_rng(seed)
        labels = np.array([c.is_virus for c in classes])
        self.class_odds = 0.5 / np.where(labels, labels.sum(), (~labels).sum())

    def sample(self, count: int) -> tuple[Nucleotides, NDArray[np.bool_]]:
        """Return `count` fragments and whether each is viral."""
        random = self.random
        lengths = random.choice(
            list(FRAGMENT_LENGTHS), size=count, p=list(FRAGMENT_LENGTHS.values())
        )
        which = random.choice(len(self.classes), size=count, p=self.class_odds)
        cuts = [
            self._cut(self.classes[c], n)
            for c, n in zip(which.tolist(), lengths.tolist(), strict=True)
        ]
        letters_N = np.concatenate(cuts)
        replaced = random.random(len(letters_N)) < self.substitution_rate
        letters_N[replaced] = random.choice(_BASES, size=int(replaced.sum()))
        offsets = np.concatenate([[0], np.cumsum([len(cut) for cut in cuts])]).astype(np.int64)
        is_virus = np.array([c.is_virus for c in self.classes])[which]
        return Nucleotides(letters_N, offsets), is_virus

    def _cut(self, data: ClassData, length: int) -> NDArray[np.uint8]:
        record = int(np.searchsorted(data.cumulative_odds, self.random.random(), side="right"))
        start, end = data.sequences.offsets[record : record + 2].tolist()
        length = min(length, end - start)
        start += int(self.random.integers(0, end - start - length + 1))
        return data.sequences.letters_N[start : start + length]


class FrameBatches(IterableDataset[FrameBatch]):
    """An endless stream of `FrameBatch`, for a `DataLoader` with any number of workers.

    Args:
        classes: what to cut from.
        tokenizer_json: content of the DNA tokenizer's file.
        cutting: how fragments are cut.
    """

    def __init__(self, classes: list[ClassData], tokenizer_json: bytes, cutting: Cutting) -> None:
        self.classes = classes
        self.tokenizer_json = tokenizer_json
        self.cutting = cutting

    def __iter__(self) -> Iterator[FrameBatch]:
        worker = get_worker_info()
        cutting = self.cutting
        seed = cutting.seed * 1000 + (worker.id if worker else 0)
        sampler = FragmentSampler(self.classes, cutting.substitution_rate, seed)
        tokenizer = DnaTokenizer(self.tokenizer_json)
        while True:
            sequences, is_virus = sampler.sample(cutting.fragments)
            yield frame_batch(sequences, is_virus, tokenizer, cutting.frames)


def frame_batch(
    sequences: Nucleotides,
    is_virus: NDArray[np.bool_],
    tokenizer: DnaTokenizer,
    rule: FrameRule = OPEN_FRAMES,
) -> FrameBatch:
    """Return the frames of `sequences`, each taken as one chunk."""
    frames = find_frames(sequences, sequences.offsets[:-1], sequences.offsets[1:], rule)
    protein, protein_place = _pack_all(protein_tokens(frames.residues, frames.protein_offsets))
    dna, dna_place = _pack_all(crop_to_multiple(tokenizer(frames.dna), DNA_MULTIPLE))
    labels = torch.from_numpy(is_virus[frames.chunk].astype(np.int64))
    return FrameBatch(protein, dna, protein_place, dna_place, labels)


def crop_to_multiple(tokens: Tokens, multiple: int) -> Tokens:
    """Drop the last tokens before the closing one, so that a multiple of tokens is left between.

    Sequences of fewer tokens than that stay as they are.
    """
    inner = tokens.lengths - 2
    kept = np.where(inner >= multiple, inner - inner % multiple, inner) + 2
    offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    source = np.repeat(tokens.offsets[:-1] - offsets[:-1], kept) + np.arange(offsets[-1])
    source[offsets[1:] - 1] = tokens.offsets[1:] - 1
    return Tokens(tokens.ids[source], offsets)


def _pack_all(tokens: Tokens) -> tuple[Pack, Tensor]:
    order = np.argsort(tokens.lengths, kind="stable")
    return pack_sequences(tokens, order), torch.from_numpy(np.argsort(order))


def mask_tokens(
    ids_T: Tensor, special: int, vocabulary: int, mask_id: int, rate: Tensor
) -> tuple[Tensor, Tensor]:
    """Hide tokens as BERT does: of those chosen 8 in 10 become the mask, 1 in 10 a random token.

    Args:
        ids_T: token ids; ids below `special` are never chosen.
        special: the first id that is not special.
        vocabulary: one past the last id that a random token may have.
        mask_id: id of the mask.
        rate: share of tokens to choose, a scalar or one per token.

    Returns:
        the changed ids and which tokens were chosen.
    """
    chosen_T = (torch.rand(ids_T.shape, device=ids_T.device) < rate) & (ids_T >= special)
    fate_T = torch.rand(ids_T.shape, device=ids_T.device)
    random_T = torch.randint(special, vocabulary, ids_T.shape, device=ids_T.device)
    masked_T = torch.where(chosen_T & (fate_T < 0.8), mask_id, ids_T)
    return torch.where(chosen_T & (fate_T >= 0.9), random_T, masked_T), chosen_T
