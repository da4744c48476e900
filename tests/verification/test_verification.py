"""`virnucpro models verify` on small random models and others' outputs of them."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from conftest import DATA
from made_reference import DNA, ESM2, HEAD, Made, change_esm2, made
from published_files import HEADS, LAYERS, WIDTH, Files
from virnucpro.bundles import Bundle
from virnucpro.bundles.assemble import add_bundle, add_encoder
from virnucpro.bundles.reference import PACKAGED, read_reference
from virnucpro.bundles.registry import ENCODERS, PublishedEncoder
from virnucpro.cli.app import app
from virnucpro.encoders import protein_tokens
from virnucpro.encoders.precision import DTYPES, computed_precisions, int8_fault
from virnucpro.encoders.tokens import ESM2_UNK
from virnucpro.errors import BundleError, SettingsError
from virnucpro.files import as_json
from virnucpro.sequences import Nucleotides, find_frames
from virnucpro.verification import verify
from virnucpro.verification.compare import BOUNDS, UNCERTAIN
from virnucpro.verification.verification_report import VerificationReport

State = dict[str, Tensor]
KNOWN = f"virnucpro.verification.api.{read_reference.__name__}"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def small(once: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Return files that the test may change, and their reference."""
    monkeypatch.setenv("VIRNUCPRO_HOME", str(tmp_path / "bundles"))
    shutil.copytree(once.files.esm2.parent, tmp_path / "published")
    paths = (tmp_path / "published" / path.name for path in once.files)
    return Made(Files(*paths), once.reference)


def verified(
    small: Made, precisions: Sequence[str] = ("fp32",), name: str = "mine"
) -> VerificationReport:
    add_bundle("mine", small.files, 500)
    return verify(name, device="cpu", precisions=precisions, reference=small.reference)


def test_a_right_bundle_is_as_published(small: Made) -> None:
    told: list[str] = []
    add_bundle("mine", small.files, 500)
    report = verify("mine", device="cpu", reference=small.reference, on_progress=told.append)
    assert (report.is_as_published, report.verdict) == (True, "as published")
    computed = computed_precisions(torch.device("cpu"))
    assert told == ["digests of the files", *computed]
    assert [(row.precision, row.what) for row in report.comparisons] == [
        (precision, what)
        for precision in computed
        for what in (
            f"{ESM2} tokens of 3 proteins",
            f"{ESM2} means of 3 proteins",
            f"{ESM2} means of 12 frames",
            f"{DNA} means of 12 frames",
            f"{HEAD} scores of 12 frames",
        )
    ]
    exact = [row for row in report.comparisons[:5] if "proteins" not in row.what]
    assert all(row.relative_error < 1e-5 for row in exact)
    finer = [row for row in report.comparisons if row.precision in ("fp32", "bf16")]
    assert all(row.labels_agreeing == 12 for row in finer if row.labels)


def swapped(state: State) -> State:
    """Exchange queries and keys of a layer."""
    query, key = (f"esm.encoder.layer.1.attention.self.{x}.weight" for x in ("query", "key"))
    return state | {query: state[key], key: state[query]}


def unscaled(state: State) -> State:
    """Take out what a loader multiplies in."""
    words = "esm.embeddings.word_embeddings.weight"
    return state | {words: state[words] / 0.88}


def broken(state: State) -> State:
    """Put a number that is none into the last layer."""
    bias = "esm.encoder.layer.1.output.dense.bias"
    return state | {bias: torch.full_like(state[bias], float("nan"))}


@pytest.mark.parametrize("change", [swapped, unscaled, broken])
def test_a_wrong_encoder_is_not(small: Made, change: Callable[[State], State]) -> None:
    change_esm2(small.files, change)
    report = verified(small)
    assert not report.is_as_published
    assert f"NOT as published: fp32: {ESM2} tokens of 3 proteins: cosine" in report.verdict
    assert f"fp32: {ESM2} means of 12 frames: cosine" in report.verdict
    assert DNA not in report.verdict
    assert json.loads(as_json(report))["is_as_published"] is False


def test_a_wrong_head_is_named_with_the_frames_it_calls_otherwise(small: Made) -> None:
    state = torch.load(small.files.head)
    for part in ("weight", "bias"):
        state[f"output_layer.{part}"] = state[f"output_layer.{part}"].flip(0)
    torch.save(state, small.files.head)
    report = verified(small)
    row = report.comparisons[-1]
    assert (row.labels_agreeing, row.labels) == (0, 12)
    frames = read_reference(small.reference).content.frames.frames
    certain = [frame.id for frame in frames if abs(frame.p_virus - 0.5) > UNCERTAIN]
    assert {frame.call for frame in frames} == {"virus", "other"}
    assert 5 < len(certain) < 12
    assert report.verdict == (
        f"NOT as published: fp32: {HEAD} scores of 12 frames: calls of {', '.join(certain)} differ"
    )


def test_scores_of_another_head_are_not_compared(small: Made) -> None:
    files = [small.files.esm2, small.files.dna, small.files.head_300]
    add_bundle("other", files, 300)
    report = verify("other", device="cpu", precisions=["fp32"], reference=small.reference)
    assert report.is_as_published
    assert len(report.comparisons) == 4
    assert report.notes[0] == f"scores: not compared, known are those of {HEAD} alone"


def test_lone_encoders_and_those_of_a_bundle(small: Made) -> None:
    add_encoder("alone", small.files.esm2)
    found = verify("alone", device="cpu", precisions=["fp32"], reference=small.reference)
    same = verified(small, name="mine:protein")
    assert found.comparisons == same.comparisons
    assert len(found.comparisons) == 3
    dna = verify("mine:dna", device="cpu", precisions=["fp32"], reference=small.reference)
    assert [row.what for row in dna.comparisons] == [f"{DNA} means of 12 frames"]
    assert dna.is_as_published


def test_what_does_not_fit_is_skipped(small: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = "virnucpro.verification.networks.memory_of"
    monkeypatch.setattr(kept, lambda _, precision: 1 << (60 if precision == "fp32" else 20))
    report = verified(small, ("fp32", "bf16"))
    assert report.is_as_published
    assert [skipped.precision for skipped in report.skipped] == ["fp32"]
    assert "GiB are needed in fp32, this machine has" in report.skipped[0].reason
    again = verify("mine", device="cpu", precisions=["fp32"], reference=small.reference)
    assert (again.is_as_published, again.verdict) == (
        False, "NOT verified: no precision could be computed",
    )  # fmt: skip


def test_refusals_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRNUCPRO_HOME", str(tmp_path))
    with pytest.raises(BundleError, match=r"^compact: nothing published is known of") as caught:
        verify("compact", device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="fp16 needs a GPU"):
        verify("compact", device="cpu", precisions=["fp16"])
    with pytest.raises(BundleError, match="virnucpro models fetch virnucpro-500"):
        verify("virnucpro-500", device="cpu")
    with pytest.raises(SettingsError, match="install virnucpro again"):
        verify("compact", device="cpu", reference=tmp_path)


def test_every_precision_has_bounds() -> None:
    assert BOUNDS.keys() == DTYPES.keys()
    eight = [] if int8_fault() else ["int8"]
    assert computed_precisions(torch.device("cpu")) == ["fp32", "bf16", *eight]


def test_the_command(small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KNOWN, lambda _: read_reference(small.reference))
    add_bundle("mine", small.files, 500)
    command = ["models", "verify", "--device", "cpu", "--precision", "fp32"]
    report = tmp_path / "report.json"
    done = CliRunner().invoke(app, [*command, "mine", "--json", str(report)])
    assert done.exit_code == 0, done.output
    assert done.stdout.rstrip().endswith("\nas published")
    assert "12 of 12" in done.stdout
    assert set(json.loads(report.read_bytes())) == set(VerificationReport.__struct_fields__)
    change_esm2(small.files, swapped)
    add_bundle("wrong", small.files, 500)
    done = CliRunner().invoke(app, [*command, "wrong"])
    assert done.exit_code == 1
    assert "NOT as published: fp32" in done.stdout


def test_digests_are_recorded_of_what_was_verified(
    small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = PublishedEncoder("esm2", f"facebook/{ESM2}", LAYERS, WIDTH, HEADS)
    monkeypatch.setitem(ENCODERS, ESM2, sizes)
    records = tmp_path / "bundles" / ".digests.json"

    def notes(name: str) -> list[str]:
        add_encoder(name, small.files.esm2)
        report = verify(name, device="cpu", precisions=["fp32"], reference=small.reference)
        return report.notes

    assert not records.exists()
    change_esm2(small.files, swapped)
    assert not any("recorded" in note for note in notes(ESM2))  # a look-alike
    assert not records.exists()
    shutil.rmtree(tmp_path / "bundles" / ESM2)
    change_esm2(small.files, swapped)  # back
    assert not any("recorded" in note for note in notes("mine"))
    assert not records.exists()
    assert f"{ESM2}: the digests of its files are recorded" in notes(ESM2)
    assert set(json.loads(records.read_text())) == {f"facebook/{ESM2}/model.safetensors"}


def test_the_packaged_reference() -> None:
    assert sum(path.stat().st_size for path in PACKAGED.iterdir() if path.is_file()) < 3 << 20
    known = read_reference()
    proteins, frames = known.content.proteins.sequences, known.content.frames
    tokens = protein_tokens(
        np.frombuffer("".join(proteins).encode(), np.uint8), np.cumsum([0, *map(len, proteins)])
    )
    assert ESM2_UNK not in tokens.ids
    assert {key: tuple(tensor.shape) for key, tensor in known.tensors.items()} == {
        "esm2_t36_3B_UR50D.hidden_states": (len(tokens.ids), 2560),
        "esm2_t6_8M_UR50D.hidden_states": (len(tokens.ids), 320),
        "esm2_t36_3B_UR50D.means": (8, 2560),
        "dnabert-s.means": (8, 768),
    }
    assert all(
        t.dtype == torch.float32 and bool(t.isfinite().all()) for t in known.tensors.values()
    )
    assert known.encoder_of("protein", 36, 2560) == frames.protein
    assert known.encoder_of("dna", 12, 768) == frames.dna
    assert known.encoder_of("protein", 5, 128) is None
    assert len({frame.id for frame in frames.frames}) == 8


def test_the_packaged_frames_are_what_this_program_finds(tiny_bundle: Bundle) -> None:
    frames = read_reference().content.frames.frames
    dna = [frame.dna for frame in frames]
    ends = np.cumsum([len(letters) for letters in dna])
    found = find_frames(Nucleotides.join(dna), ends - [len(x) for x in dna], ends)
    first = {int(found.chunk[i]): int(i) for i in np.flatnonzero(found.frame == 0)}
    assert [found.protein(first[i]) for i in range(8)] == [frame.protein for frame in frames]
    assert [found.dna[first[i]] for i in range(8)] == dna
    assert [frame.call for frame in frames] == [
        "virus" if frame.p_virus > 0.5 else "other" for frame in frames
    ]
    vocabulary = json.loads((DATA / "dnabert_s.tokenizer.json").read_bytes())["model"]["vocab"]
    letters = {token_id: token for token, token_id in vocabulary.items()}
    tokens = tiny_bundle.tokenizer()(dna)
    for sequence, start, end in zip(dna, tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        first_id, *inner, last_id = tokens.ids[start:end].tolist()
        assert (letters[first_id], letters[last_id]) == ("[CLS]", "[SEP]")
        assert "".join(letters[i] for i in inner) == sequence
