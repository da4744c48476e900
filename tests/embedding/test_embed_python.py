"""`embed_sequences` and `read_embeddings`."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import virnucpro
from processes import gone_in_time
from virnucpro.bundles import Bundle
from virnucpro.encoders.pooling import Pooling
from virnucpro.errors import BundleError, InputError, SettingsError
from virnucpro.sequences.blocks import cut_sequences

PROTEINS = [
    ("b", "MKVLAAGGTW"),
    ("a", "mkk*"),
    ("b", "M"),
    ("long", "ACDEFGHIKLMNPQRSTVWY" * 120),
    ("é", "MX-BZ"),
]
DNA = [("x", "ACGTTGCA" * 20), ("n", "acgtnnnacgt"), ("one", "A")]


def endless() -> Iterator[tuple[str, str]]:
    """Yield proteins for ever."""
    for number in itertools.count():
        yield f"s{number}", "MKVLAAGGTW"[: 1 + number % 10] * 3


@pytest.mark.parametrize("pooling", ["mean", "cls", "tokens"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_sequences_have_the_numbers_of_the_file_in_order(
    protein: str, dna: str, tmp_path: Path, pooling: Pooling, dtype: str
) -> None:
    for model, records in ((protein, PROTEINS), (dna, DNA)):
        path, out = tmp_path / "records.fa", tmp_path / model.rpartition(":")[2]
        path.write_text("".join(f">{name} words\n{letters}\n" for name, letters in records))
        virnucpro.embed(path, out, model=model, pooling=pooling, dtype=dtype, device="cpu")
        written = list(virnucpro.read_embeddings(out))
        found = list(
            virnucpro.embed_sequences(
                records, model=model, pooling=pooling, dtype=dtype, device="cpu"
            )
        )
        assert [id_ for id_, _ in found] == [id_ for id_, _ in written] == [x for x, _ in records]
        for (_, ours), (_, theirs) in zip(found, written, strict=True):
            assert ours.dtype == np.dtype("float32" if dtype == "fp32" else "float16")
            assert ours.shape == theirs.shape
            assert ours.ndim == 1 + (pooling == "tokens")
            assert np.array_equal(ours, theirs)


def test_an_array_is_the_callers_to_keep_and_change(protein: str) -> None:
    stream = virnucpro.embed_sequences(PROTEINS, model=protein, device="cpu")
    _, first = next(stream)
    kept = first.copy()
    first += 1
    rest = dict(stream)
    assert np.array_equal(first, kept + 1)
    assert all(np.isfinite(values).all() for values in rest.values())


def test_two_workers_yield_the_same_in_the_same_order(
    protein: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virnucpro.embedding.job._BLOCK_LETTERS", 2000)

    def taken(device: str) -> list[tuple[str, bytes]]:
        stream = virnucpro.embed_sequences(endless(), model=protein, device=device)
        found = [(id_, values.tobytes()) for id_, values in itertools.islice(stream, 3000)]
        stream.close()  # type: ignore[attr-defined]
        return found

    assert taken("cpu,cpu") == taken("cpu")


#: Long enough that workers have blocks in hand when a stream is left.
def test_no_sequences_give_nothing(protein: str, dna: str) -> None:
    for model in (protein, dna):
        assert list(virnucpro.embed_sequences([], model=model, device="cpu")) == []


BAD = {
    "digit": ("protein", [*PROTEINS, ("x", "MK1")], r"sequence 6 \(x\): .* not residues \('1'\)"),
    "nothing": ("protein", [("none", "")], r"sequence 1 \(none\): has no residues"),
    "a stop": ("protein", [("stop", "*")], r"sequence 1 \(stop\): has no residues"),
    "not ASCII": ("protein", [("é", "MÄK")], r"sequence 1 \(é\): .* not residues \('Ä'\)"),
    "residue": ("dna", [*DNA, ("bad", "ACGE")], r"sequence 4 \(bad\): .* not nucleotides \('E'\)"),
    "no bases": ("dna", [("none", "")], r"sequence 1 \(none\): has no bases"),
}


@pytest.mark.parametrize(
    ("name", "device"), [*((name, "cpu") for name in BAD), ("residue", "cpu,cpu")]
)
def test_a_sequence_that_cannot_be_embedded_is_named(
    small_bundle: Bundle, name: str, device: str
) -> None:
    kind, records, message = BAD[name]
    stream = virnucpro.embed_sequences(records, model=f"{small_bundle.path}:{kind}", device=device)
    with pytest.raises(InputError, match=message):
        list(stream)


def test_what_the_callers_iterator_raises_is_raised_after_what_came_before(
    protein: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virnucpro.embedding.job._BLOCK_LETTERS", 20)

    def broken() -> Iterator[tuple[str, str]]:
        yield from ((f"s{i}", "MKVLAAGGTW") for i in range(20))
        raise LookupError("no more of these")

    found = []
    threads = set(threading.enumerate())
    with pytest.raises(LookupError, match="no more of these"):
        found += [id_ for id_, _ in virnucpro.embed_sequences(broken(), model=protein)]
    stream = virnucpro.embed_sequences(broken(), model=protein, device="cpu")
    with pytest.raises(LookupError, match="no more of these"):
        found.extend(id_ for id_, _ in stream)
    assert found == [f"s{i}" for i in range(18)]  # the block that was being filled is lost
    assert gone_in_time(lambda: not set(threading.enumerate()) - threads)


@pytest.mark.parametrize(
    ("settings_", "error", "message"),
    [
        ({"pooling": "max"}, SettingsError, "--pooling max: give mean, cls, tokens"),
        ({"layer": 3}, SettingsError, "--layer 3: .* has layers 1 to 2"),
        ({"layer": 0}, SettingsError, "--layer 0: .* has layers 1 to 2"),
        ({"dtype": "float32"}, SettingsError, "--dtype float32: give fp32, fp16"),
        ({"device": "tpu"}, SettingsError, "--device tpu"),
        ({"precision": "fp7"}, SettingsError, "--precision fp7"),
        ({"executor": "slurm"}, SettingsError, "--executor slurm"),
        ({"model": "nonesuch"}, BundleError, "no encoder 'nonesuch'"),
    ],
)
def test_settings_that_do_not_fit(
    protein: str, settings_: dict[str, Any], error: type[Exception], message: str
) -> None:
    given_ = {"model": protein, "device": "cpu", **settings_}
    with pytest.raises(error, match=message):
        next(virnucpro.embed_sequences([("a", "MK")], **given_))


def test_what_was_written_becomes_annotated_data(protein: str, tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    path, out = tmp_path / "records.fa", tmp_path / "out"
    path.write_text("".join(f">{name} words\n{letters}\n" for name, letters in PROTEINS))
    virnucpro.embed(path, out, model=protein, device="cpu")
    data = virnucpro.read_embeddings(out).to_anndata()
    values = np.stack([values for _, values in virnucpro.read_embeddings(out)])
    assert np.array_equal(data.X, values)
    assert list(data.obs_names) == ["b", "a", "b-1", "long", "é"]
    assert list(data.obs["length"]) == [len(letters) for _, letters in PROTEINS]
    assert data.uns["virnucpro"]["pooling"] == "mean"
    ragged = tmp_path / "ragged"
    virnucpro.embed(path, ragged, model=protein, pooling="tokens", device="cpu")
    with pytest.raises(InputError, match="a vector for each residue"):
        virnucpro.read_embeddings(ragged).to_anndata()


def test_an_unfinished_run_has_no_embeddings_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no embeddings; is its run finished"):
        virnucpro.read_embeddings(tmp_path)
    with pytest.raises(InputError, match="nonesuch"):
        virnucpro.read_embeddings(tmp_path / "nonesuch")


def values_of(
    records: list[tuple[str, str]], model: str, pooling: Pooling, block_letters: int
) -> list[tuple[str, NDArray[np.floating[Any]]]]:
    """Embed with blocks of a size."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("_BLOCK_LETTERS", "_BLOCK_LETTERS_OF_TOKENS"):
            patched.setattr(f"virnucpro.embedding.job.{name}", block_letters)
        stream = virnucpro.embed_sequences(records, model=model, pooling=pooling, device="cpu")
        return list(stream)


@settings(deadline=None, max_examples=12)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    kind=st.sampled_from(["protein", "dna"]),
    pooling=st.sampled_from(["mean", "cls", "tokens"]),
    block_letters=st.integers(1, 90),
)
def test_values_do_not_depend_on_where_blocks_end(
    small_bundle: Bundle, lengths: list[int], kind: str, pooling: Pooling, block_letters: int
) -> None:
    letters = "ACGT" * 10 if kind == "dna" else "ACDEFGHIKLMNPQRSTVWY" * 2
    records = [(f"r{i}", letters[-length:]) for i, length in enumerate(lengths)]
    model = f"{small_bundle.path}:{kind}"
    whole = values_of(records, model, pooling, 1 << 18)
    cut = values_of(records, model, pooling, block_letters)
    assert [id_ for id_, _ in cut] == [id_ for id_, _ in whole] == [id_ for id_, _ in records]
    for (_, ours), (_, theirs) in zip(cut, whole, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("block_letters", [1, 10, 25, 1 << 18])
def test_records_fill_blocks_in_order_and_none_is_lost(block_letters: int) -> None:
    records = [(f"r{i}", "M" * (1 + 7 * i % 31)) for i in range(40)]
    blocks = list(cut_sequences(records, "protein", block_letters))
    pieces = [piece for block in blocks for piece in block.pieces]
    assert [block.index for block in blocks] == list(range(len(blocks)))
    assert [(piece.header, piece.sequence) for piece in pieces] == records
    assert [piece.record for piece in pieces] == list(range(40))
    for block in blocks:
        assert len(block.pieces) == 1 or sum(p.length for p in block.pieces) <= block_letters


def test_ids_that_are_not_unique_are_said_once(protein: str, tmp_path: Path) -> None:
    path, summaries = tmp_path / "p.fa", []
    for names in ("abcd", "abcacab"):
        path.write_text("".join(f">{name} x\nMKVLAAGGTW\n" for name in names))
        out = tmp_path / names
        summaries.append(virnucpro.embed(path, out, model=protein, device="cpu"))
    assert [summary.notes for summary in summaries] == [
        [], ["ids are not unique: 4 records have the id of an earlier one, first a"],
    ]  # fmt: skip
