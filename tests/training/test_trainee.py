"""Fragments and the network in training, compared to strings and loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from made_classes import LENGTHS, ODDS, records_of, write_classes, write_fasta
from virnucpro.classify.classifier import FrameClassifier
from virnucpro.encoders.six_frames import CODONS
from virnucpro.errors import InputError
from virnucpro.sequences import OTHER_BASE
from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES
from virnucpro.training.classes import ClassData, load_classes
from virnucpro.training.hyperparameters import sized
from virnucpro.training.trainee import WORD_VECTORS, Losses, Trainee, log_odds
from virnucpro.training.windows import Library, substitute

CPU = torch.device("cpu")
NETWORK = sized(1, 32, 1, 32)
COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def classes(data: Path) -> list[ClassData]:
    return load_classes([data])


# ---- what is learned from


def test_classes_and_labels_come_from_file_names(classes: list[ClassData]) -> None:
    assert [(c.name, c.is_virus) for c in classes] == [(n, n[0] == "v") for n in sorted(ODDS)]


def test_files_of_equal_names_are_one_class(data: Path, tmp_path: Path) -> None:
    write_fasta(tmp_path / "more" / "virus_one.fasta", ["ACGTA"])
    write_fasta(tmp_path / "more" / "virus_one.second.fasta", ["AC" * 30_000])
    found = {c.name: c for c in load_classes([data, tmp_path / "more"])}
    joined = found["virus_one"]
    assert sorted(found) == sorted(ODDS)
    lengths = np.array([*LENGTHS, 5, 60_000])
    assert np.diff(joined.sequences.offsets).tolist() == lengths.tolist()
    weights = np.minimum(lengths, 50_000)
    np.testing.assert_allclose(joined.cumulative_odds, np.cumsum(weights) / weights.sum())


def test_one_label_alone_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "virus_gene.fa").write_bytes((data / "virus_one.fa").read_bytes())
    with pytest.raises(InputError, match=r"needs FASTA files named virus\* and other\*"):
        load_classes([tmp_path])


def test_fragments_are_cut_from_either_strand_of_a_record_of_their_class(
    classes: list[ClassData],
) -> None:
    torch.manual_seed(2)
    fragments = Library(classes, CPU).cut(6000, 60)
    places: dict[str, list[tuple[int, int, bool]]] = {name: [] for name in ODDS}
    known = {name: [text.upper() for text in records_of(name)] for name in ODDS}
    for bases, length, is_virus in zip(*(x.tolist() for x in fragments[:3]), strict=True):
        text = "".join("ACGTN"[base] for base in bases)
        assert text[length:] == "N" * (60 - length)
        strands = [text[:length], text[:length].translate(COMPLEMENT)[::-1]]
        found = [
            (name, i, record.find(strand), turned)
            for name, records in known.items()
            for i, record in enumerate(records)
            for turned, strand in enumerate(strands)
            if strand in record
        ]
        assert len(found) == 1, text
        name, i, start, turned = found[0]
        assert name.startswith("virus") == bool(is_virus)
        assert length == min(60, LENGTHS[i])
        places[name].append((i, start, bool(turned)))
    shares = {name: len(found) / 6000 for name, found in places.items()}
    assert shares == pytest.approx(
        {"virus_one": 0.25, "virus_two": 0.25, "other_one": 0.5}, abs=0.03
    )
    of_one = places["other_one"]
    assert np.mean([turned for *_, turned in of_one]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([i == 3 for i, *_ in of_one]) == pytest.approx(3000 / sum(LENGTHS), abs=0.05)
    assert {start for i, start, _ in of_one if i == 0} == {0}
    assert {start for i, start, _ in of_one if i == 1} == set(range(11))


def test_the_share_of_bases_asked_for_is_replaced_by_any_base() -> None:
    torch.manual_seed(4)
    bases_BL = torch.randint(0, 5, (3, 100_000), dtype=torch.uint8)
    found_BL = substitute(bases_BL, torch.tensor([0.0, 0.1, 1.0]))
    is_base_BL = bases_BL < OTHER_BASE
    assert (found_BL[~is_base_BL] == OTHER_BASE).all()
    assert (found_BL[is_base_BL] < OTHER_BASE).all()
    for row, share in enumerate((0.0, 0.1, 1.0)):
        changed = (found_BL != bases_BL)[row][is_base_BL[row]].float().mean().item()
        assert changed == pytest.approx(0.75 * share, abs=0.01 * (share > 0))
    shares = found_BL[2][is_base_BL[2]].bincount() / is_base_BL[2].sum()
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.01)


# ---- the network in training


def trainee_of(losses: Losses) -> Trainee:
    torch.manual_seed(1)
    return Trainee(NETWORK, losses, len(ODDS)).eval()


def test_the_vector_of_a_word_is_that_of_its_codon_and_of_its_residue() -> None:
    trainee = trainee_of(Losses())
    found, own = trainee.words(), trainee.encoder.frames.embedding.weight
    assert len(found) == len(own) == 1 + 64 * CODONS
    assert not found[0].any()
    for place in range(CODONS):
        for codon, residue in enumerate(RESIDUE_OF_CODON.tolist()):
            word = 1 + 64 * place + codon
            expected = own[word] + trainee.residues[len(RESIDUES) * place + residue]
            assert torch.equal(found[word], expected)


def test_the_loss_of_the_classifier_is_that_of_what_is_exported(classes: list[ClassData]) -> None:
    trainee = trainee_of(Losses(word_dropout=0.0))
    fragments = Library(classes, CPU).cut(20, 300)
    with torch.inference_mode():
        restore, decide, _ = trainee.losses(fragments, torch.zeros(20), torch.float32)
        state = trainee.classifier.state_dict() | {WORD_VECTORS: trainee.words()}
        exported = FrameClassifier(NETWORK).eval()
        exported.load_state_dict(state)
        odds_B = log_odds(exported, fragments, torch.float32)
    assert restore == 0
    expected = binary_cross_entropy_with_logits(odds_B, fragments.is_virus_B)
    torch.testing.assert_close(decide, expected)


def test_the_loss_of_a_class_is_the_least_where_it_is_named(classes: list[ClassData]) -> None:
    trainee = trainee_of(Losses())
    fragments = Library(classes, CPU).cut(20, 300)
    by_number = [c.is_virus for c in classes]
    assert fragments.is_virus_B.tolist() == [by_number[i] for i in fragments.class_B.tolist()]
    with torch.no_grad():
        trainee.kind.weight.zero_()
        trainee.kind.bias.copy_(torch.tensor([30.0, 0.0, 0.0]))
        sort = [
            trainee.losses(
                fragments._replace(class_B=torch.full((20,), i)), torch.zeros(20), torch.float32
            ).kind.item()
            for i in range(3)
        ]
    assert sort == pytest.approx([0, 30, 30], abs=1e-4)


def test_what_is_left_out_differs_in_training_alone(classes: list[ClassData]) -> None:
    trainee = trainee_of(Losses(word_dropout=0.0, dropout=0.5))
    fragments = Library(classes, CPU).cut(20, 300)
    for is_training in (False, True):
        trainee.train(is_training)
        with torch.inference_mode():
            found = [
                trainee.losses(fragments, torch.zeros(20), torch.float32).label for _ in range(2)
            ]
        assert torch.equal(*found) != is_training


def test_nothing_is_seen_of_hidden_windows(classes: list[ClassData]) -> None:
    trainee = trainee_of(Losses())
    fragments = Library(classes, CPU).cut(20, 300)
    turned = fragments._replace(bases_BL=fragments.bases_BL.flip(0))
    shown, hidden = torch.zeros(20), torch.ones(20)
    with torch.inference_mode():
        for share_B, is_same in ((shown, False), (hidden, True)):
            losses = [trainee.losses(x, share_B, torch.float32).label for x in (fragments, turned)]
            assert torch.equal(*losses) == is_same
