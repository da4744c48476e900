"""Token ids against the published tokenizer and fair-esm's alphabet."""

import json
from pathlib import Path

import esm.data
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from virnucpro.encoders import DnaTokenizer, Tokens, protein_tokens
from virnucpro.encoders.tokens import ESM2_CLS, ESM2_EOS, ESM2_PAD, ESM2_UNK, ESM2_VOCABULARY
from virnucpro.errors import BundleError

DATA = Path(__file__).parents[1] / "data"
RESIDUES = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
ALPHABET = esm.data.Alphabet.from_architecture("ESM-1b")


@pytest.fixture(scope="module")
def published(tokenizer_json: bytes) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json.decode())


@pytest.fixture(scope="module")
def ours(tokenizer_json: bytes) -> DnaTokenizer:
    return DnaTokenizer(tokenizer_json)


def rows(tokens: Tokens) -> list[list[int]]:
    """Return the ids of each sequence."""
    borders = zip(tokens.offsets[:-1].tolist(), tokens.offsets[1:].tolist(), strict=True)
    return [tokens.ids[start:end].tolist() for start, end in borders]


@st.composite
def dna(draw: st.DrawFn) -> str:
    """Draw a sequence, at times of few letters so that the longest merges occur."""
    letters = draw(st.sampled_from(["ACGT", "A", "AT", "ACGTN", "ACGTURYSWKMBDHVN-", "AC-N"]))
    length = draw(st.integers(1, 700))
    random = draw(st.randoms(use_true_random=True))
    return "".join(random.choices(letters, k=length))


@settings(deadline=None, max_examples=300)
@given(sequences=st.lists(dna(), min_size=1, max_size=5))
@example(sequences=["-", "N", "--", "A-", "-A", "A-C", "A--C", "NN-NN"])
@example(sequences=["A" * 700, "U" * 700, "-" * 700])
def test_dna_ids_are_those_of_the_published_tokenizer(
    ours: DnaTokenizer, published: Tokenizer, sequences: list[str]
) -> None:
    tokens = ours(sequences)
    assert rows(tokens) == [published.encode(sequence).ids for sequence in sequences]
    assert tokens.ids.dtype == tokens.offsets.dtype == np.int64
    assert len(tokens.offsets) == len(sequences) + 1


@pytest.mark.parametrize("letter", "ACGTURYSWKMBDHVN-")
def test_each_letter_alone(ours: DnaTokenizer, published: Tokenizer, letter: str) -> None:
    ids = published.encode(letter).ids
    assert rows(ours([letter])) == [ids]
    assert len(ids) == 3


def test_dna_ids_are_those_the_published_model_was_run_on(ours: DnaTokenizer) -> None:
    sequences = json.loads((DATA / "dnabert_s_tiny.json").read_text())["sequences"]
    outputs = load_file(DATA / "dnabert_s_tiny.outputs.safetensors")
    expected = [outputs[f"{i}.ids"].tolist() for i in range(len(sequences))]
    assert len(expected) == 12
    assert rows(ours(sequences)) == expected


def test_no_dna_at_all(ours: DnaTokenizer) -> None:
    tokens = ours([])
    assert tokens.ids.tolist() == []
    assert tokens.offsets.tolist() == [0]


def test_vocabulary_size(ours: DnaTokenizer, published: Tokenizer) -> None:
    assert ours.vocabulary_size == published.get_vocab_size() == 4096


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"model": {"vocab": {}, "merges": [], "unk_token": null}}',
        b'{"model": {"vocab": {"[CLS]": 0, "[SEP]": 1}, "merges": ["A"], "unk_token": null}}',
        b'{"model": {"vocab": {"[CLS]": 0, "[SEP]": 1}, "merges": 3, "unk_token": null}}',
    ],
)
def test_what_is_no_tokenizer_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="give a byte-pair tokenizer"):
        DnaTokenizer(content)


def tokens_of_proteins(proteins: list[str]) -> Tokens:
    residues = np.frombuffer("".join(proteins).encode(), dtype=np.uint8)
    lengths = [len(protein) for protein in proteins]
    return protein_tokens(residues, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def fair_esm_ids(proteins: list[str]) -> list[list[int]]:
    """Return the batch converter's ids without the padding."""
    _, _, batch = ALPHABET.get_batch_converter()([(protein, protein) for protein in proteins])
    lengths = [len(protein) + 2 for protein in proteins]
    padding = [row[length:] for row, length in zip(batch.tolist(), lengths, strict=True)]
    assert {token_id for row in padding for token_id in row} <= {ESM2_PAD}
    return [row[:length] for row, length in zip(batch.tolist(), lengths, strict=True)]


def test_vocabulary_is_that_of_fair_esm() -> None:
    assert list(ESM2_VOCABULARY) == ALPHABET.all_toks
    assert {token for token in ESM2_VOCABULARY if len(token) == 1} == set(RESIDUES)
    special = [ALPHABET.cls_idx, ALPHABET.padding_idx, ALPHABET.eos_idx, ALPHABET.unk_idx]
    assert special == [ESM2_CLS, ESM2_PAD, ESM2_EOS, ESM2_UNK]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(st.sampled_from(RESIDUES), min_size=1, max_size=200), max_size=8))
@example([])
@example([RESIDUES])
@example(["M", RESIDUES[::-1], "-", "."])
def test_protein_ids_are_those_of_fair_esm(proteins: list[str]) -> None:
    tokens = tokens_of_proteins(proteins)
    expected = fair_esm_ids(proteins) if proteins else []
    assert rows(tokens) == expected
    assert tokens.ids.dtype == tokens.offsets.dtype == np.int64


@pytest.mark.parametrize("letter", "J*a1")
def test_a_letter_outside_the_alphabet_is_unknown(letter: str) -> None:
    assert tokens_of_proteins([letter]).ids.tolist() == [ESM2_CLS, ESM2_UNK, ESM2_EOS]
    assert ALPHABET.get_idx(letter) == ESM2_UNK


@pytest.mark.parametrize("repeat", ["A", "AT", "AAT", "ACGTACG", "N", "AN", "AAAAAAAAC"])
def test_repeats_equal_the_published_tokenizer(
    repeat: str, published: Tokenizer, ours: DnaTokenizer
) -> None:
    sequences = [(repeat * 700)[:length] for length in range(1, 700, 13)]
    expected = [encoding.ids for encoding in published.encode_batch(sequences)]
    assert rows(ours(sequences)) == expected
