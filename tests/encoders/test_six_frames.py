"""Words of six frames against strings, packs against single sequences and against training."""

import copy
from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import relative_error
from virnucpro.classify.classifier import FrameClassifier
from virnucpro.encoders import Pack, Tokens, pack_sequences
from virnucpro.encoders.packing import one_thread_an_operation
from virnucpro.encoders.six_frames import (
    CODONS,
    FRAMES,
    SPAN,
    WINDOW,
    WORDS,
    SixFrames,
    _backwards,
    _six_times,
    bases_of,
    window_tokens,
    words_of,
)
from virnucpro.encoders.speed import speed_up
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES
from virnucpro.training.hyperparameters import sized
from virnucpro.training.trainee import log_odds
from virnucpro.training.windows import Fragments

CODES = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
RESIDUE_OF = {
    a + b + c: CODES[16 * i + 4 * j + k]
    for i, a in enumerate("TCAG")
    for j, b in enumerate("TCAG")
    for k, c in enumerate("TCAG")
}
CODON_OF_NUMBER = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
COMPLEMENT = str.maketrans("ACGT", "TGCA")
#: Lengths with runs, a single window, ends in a window and on its border.
LENGTHS = [500, 3, 300, 18, 300, 19, 126, 500, 500, 7, 36]
RECORDS = st.text(st.sampled_from("ACGTACGTACGTacgtNn-R"), max_size=90)


class Word(NamedTuple):
    """A codon where a window has it, as a frame reads it."""

    place: int
    codon: str


def complement(text: str) -> str:
    return text.translate(COMPLEMENT)[::-1]


def by_strings(chunk: str) -> list[list[list[Word]]]:
    """Return the words of each window and frame of a chunk."""
    found = []
    for start in range(0, len(chunk), WINDOW):
        span = chunk[start : start + SPAN].upper().ljust(SPAN, "N")
        frames = [span[skipped:] for skipped in range(3)]
        frames += [complement(span)[2 - skipped :] for skipped in range(3)]
        codons = [[frame[3 * k : 3 * k + 3] for k in range(CODONS)] for frame in frames]
        found.append([[Word(k, c) for k, c in enumerate(row) if c in RESIDUE_OF] for row in codons])
    return found


def as_words(words: Tensor) -> list[list[list[Word]]]:
    """Return words of windows in each frame, shape (T, 6, CODONS), in the order of their places."""
    return [
        [
            sorted(Word((w - 1) // 64, CODON_OF_NUMBER[(w - 1) % 64]) for w in row if w)
            for row in window
        ]
        for window in words.tolist()
    ]


def tokens_of_texts(texts: list[str]) -> Tokens:
    letters_N = np.frombuffer("".join(texts).encode(), np.uint8)
    borders = np.cumsum([0, *map(len, texts)])
    return window_tokens(letters_N, borders[:-1], borders[1:])


def texts_of(lengths: list[int], seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list("ACGTACGTACGTN"), size=n)) for n in lengths]


def pack_of(texts: list[str], multiple_of: int = 1) -> Pack:
    return pack_sequences(tokens_of_texts(texts), np.arange(len(texts)), multiple_of)


def classifier_of(seed: int = 5) -> FrameClassifier:
    """Return a network whose attention looks at few tokens, so that positions matter."""
    torch.manual_seed(seed)
    classifier = FrameClassifier(sized(2, 64, 2, 128)).eval().requires_grad_(requires_grad=False)
    for name, parameter in classifier.named_parameters():
        mean = float(parameter.dim() == 1 and name.endswith("norm.weight"))
        nn.init.normal_(parameter, mean=mean, std=0.15)
    # As exported: what is no word has no vector.
    network_of(classifier).frames.embedding.weight[0].zero_()
    return classifier


def network_of(classifier: FrameClassifier) -> SixFrames:
    network = classifier.protein_encoder
    assert isinstance(network, SixFrames)
    return network


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread: threads that wait for each other are slow here."""
    with one_thread_an_operation():
        yield


@pytest.fixture(scope="module")
def classifier() -> FrameClassifier:
    return classifier_of()


@pytest.fixture(scope="module")
def network(classifier: FrameClassifier) -> SixFrames:
    return network_of(classifier)


# ---- words


def test_the_genetic_code_in_numbers() -> None:
    assert [RESIDUES[r] for r in RESIDUE_OF_CODON] == [RESIDUE_OF[c] for c in CODON_OF_NUMBER]
    assert 1 + CODONS * len(CODON_OF_NUMBER) == WORDS


@settings(deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=5))
@example(["A", "AC", "ACG", "ACGTA"])
def test_words_are_the_codons_that_strings_have(texts: list[str]) -> None:
    tokens = tokens_of_texts(texts)
    assert tokens.lengths.tolist() == [-(-len(text) // WINDOW) for text in texts]
    words = words_of(bases_of(torch.from_numpy(tokens.ids)))
    assert words.shape == (len(tokens.ids), FRAMES, CODONS)
    assert as_words(words) == [window for text in texts for window in by_strings(text)]


@settings(deadline=None)
@given(st.text("ACGTN", min_size=1, max_size=90), st.data())
def test_a_chunk_has_no_word_of_what_lies_beside_it(text: str, data: st.DataObject) -> None:
    border = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(border, border), min_size=1, max_size=4))
    borders = np.array([sorted(pair) for pair in pairs], dtype=np.int64)
    letters_N = np.frombuffer(text.encode(), np.uint8)
    tokens = window_tokens(letters_N, borders[:, 0], borders[:, 1])
    expected = tokens_of_texts([text[a:b] for a, b in borders.tolist()])
    assert tokens.ids.tolist() == expected.ids.tolist()
    assert tokens.offsets.tolist() == expected.offsets.tolist()


# ---- packs


@pytest.fixture(scope="module")
def alone(network: SixFrames) -> list[Tensor]:
    """Each text of `LENGTHS` in a pack of its own."""
    with torch.inference_mode():
        return [network.embed(pack_of([text]))[0] for text in texts_of(LENGTHS)]


@settings(deadline=None, max_examples=8)
@given(st.permutations(range(len(LENGTHS))), st.sampled_from([1, 16]))
def test_a_sequence_in_a_pack_is_embedded_as_if_it_were_alone(
    network: SixFrames, alone: list[Tensor], order: list[int], multiple_of: int
) -> None:
    texts = texts_of(LENGTHS)
    with torch.inference_mode():
        together = network.embed(pack_of([texts[i] for i in order], multiple_of))
    assert together.dtype == torch.float32
    for found, i in zip(together, order, strict=True):
        assert relative_error(found, alone[i]) < 1e-5


def fragments_of(texts: list[str]) -> Fragments:
    """Return texts of several lengths side by side."""
    most = max(map(len, texts))
    bases = [["ACGTN".index(letter) for letter in text.ljust(most, "N")] for text in texts]
    return Fragments(
        torch.tensor(bases, dtype=torch.uint8),
        torch.tensor([len(text) for text in texts]),
        torch.zeros(len(texts)),
        torch.zeros(len(texts), dtype=torch.int64),
    )


@pytest.mark.parametrize("multiple_of", [1, 16])
def test_prediction_computes_what_training_did(
    classifier: FrameClassifier, multiple_of: int
) -> None:
    texts = texts_of(LENGTHS, seed=2)
    with torch.inference_mode():
        means_SD = network_of(classifier).embed(pack_of(texts, multiple_of))
        logits_S2 = classifier.head(means_SD)
        expected = log_odds(classifier, fragments_of(texts), torch.float32)
    found = logits_S2[:, 1] - logits_S2[:, 0]
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_fast_steps_of_a_cpu_give_the_same(network: SixFrames) -> None:
    fast = copy.deepcopy(network)
    assert speed_up(fast, "fp32") == "fused steps for a CPU"
    for multiple_of in (1, 16):
        pack = pack_of(texts_of(LENGTHS, seed=3), multiple_of)
        with torch.inference_mode():
            expected, found = network.embed(pack), fast.embed(pack)
        assert relative_error(found, expected) < 1e-5


# ---- the reverse strand


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_reverse_frames_of_each_sequence_are_taken_from_its_end(windows: list[int]) -> None:
    six = _six_times(pack_of(["A" * WINDOW * n for n in windows]))
    starts = np.cumsum([0, *windows * FRAMES])[:-1].reshape(FRAMES, -1)
    expected = [
        int(start) + place
        for frame in starts[FRAMES // 2 :]
        for start, n in zip(frame, windows, strict=True)
        for place in reversed(range(n))
    ]
    assert six.used == FRAMES * sum(windows)
    assert _backwards(six).tolist() == expected


def read_frames(network: SixFrames, texts: list[str]) -> Tensor:
    """Return what the first network says of each window, shape (T, 6, E)."""
    given: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0])

    handle = network.mix.register_forward_pre_hook(keep)
    with torch.inference_mode():
        network(pack_of(texts))
    handle.remove()
    return cast("Tensor", given[0].unflatten(1, (FRAMES, -1)))


@pytest.mark.parametrize("windows", [1, 2, 3, 9])
def test_a_reverse_frame_is_read_as_a_forward_one_of_the_other_strand(
    network: SixFrames, windows: int
) -> None:
    # Eight letters in front and none behind: then windows have the same codons on both strands,
    # the first of one those of the last of the other, with their frames in reverse order.
    front = SPAN - WINDOW
    bases = "".join(np.random.default_rng(4).choice(list("ACGT"), size=WINDOW * windows - front))
    text, other = "N" * front + bases, "N" * front + complement(bases)
    beside = texts_of([70])
    found = read_frames(network, [*beside, text])[-windows:, 3:]
    expected = read_frames(network, [other, *beside])[:windows, :3].flip(0, 1)
    assert relative_error(found, expected) < 1e-5
