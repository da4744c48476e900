"""The recipe on a very small network: it learns, it repeats, and `predict` takes its bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import virnucpro
from conftest import tokens_of
from processes import EXAMPLES, ROOT
from virnucpro.classify.model import ClassifierConfig, FrameClassifier
from virnucpro.encoders import DnabertSConfig, Esm2Config
from virnucpro.errors import InputError, RunError
from virnucpro.sequences import FrameRule, SequenceFile
from virnucpro.training.export import export_bundle, record_metrics
from virnucpro.training.fragments import (
    ClassData,
    FragmentSampler,
    crop_to_multiple,
    load_classes,
    mask_tokens,
)
from virnucpro.training.recipe import Recipe, train
from virnucpro.training.trainee import Teacher

CPU = torch.device("cpu")
TINY = Recipe(
    network=ClassifierConfig(
        Esm2Config(layers=1, width=16, heads=2),
        DnabertSConfig(layers=1, width=16, heads=2, feed_forward=16),
        head_hidden=8,
    ),
    pretrain_steps=2,
    train_steps=4,
    fragments=32,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example contigs as one FASTA file a class."""
    folder = tmp_path_factory.mktemp("classes")
    truth = (line.split("\t") for line in (ROOT / "examples/truth.tsv").read_text().splitlines())
    class_of = {row[0]: row[2] for row in truth}
    with SequenceFile(EXAMPLES[1]) as contigs:
        for record in contigs:
            with (folder / f"{class_of[record.id]}.fa").open("a") as file:
                file.write(f">{record.header}\n{record.sequence}\n")
    return folder


def trained(
    classes: list[ClassData], tokenizer_json: bytes, recipe: Recipe, teacher: Teacher | None = None
) -> FrameClassifier:
    """Train to the end."""
    found = train(classes, tokenizer_json, recipe, CPU, workers=0, teacher=teacher)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def classes(data: Path) -> list[ClassData]:
    return load_classes(data)


def test_classes_and_labels_come_from_file_names(classes: list[ClassData]) -> None:
    assert len(classes) == 8
    assert all(c.is_virus == c.name.startswith("virus") for c in classes)


def test_one_label_alone_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "virus_gene.fa").write_bytes((data / "virus_gene.fa").read_bytes())
    with pytest.raises(InputError, match=r"needs FASTA files named virus\* and other\*"):
        load_classes(tmp_path)


def test_fragments_are_cut_from_their_class_and_labels_are_balanced(
    classes: list[ClassData],
) -> None:
    sequences, is_virus = FragmentSampler(classes, 0.0, seed=3).sample(400)
    texts = {c.is_virus: "" for c in classes}
    for c in classes:
        texts[c.is_virus] += c.sequences.forward_text()
    letters = sequences.forward_text()
    borders = sequences.offsets.tolist()
    for start, end, label in zip(borders[:-1], borders[1:], is_virus.tolist(), strict=True):
        assert letters[start:end] in texts[label]
    assert 0.4 < is_virus.mean() < 0.6


def test_training_twice_gives_the_same_weights_and_another_seed_others(
    classes: list[ClassData], tokenizer_json: bytes
) -> None:
    first, again, other = (
        trained(classes, tokenizer_json, recipe).state_dict()
        for recipe in (TINY, TINY, replace(TINY, seed=2))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.output_layer.weight"], other["head.output_layer.weight"])


def test_the_classifier_learns(
    classes: list[ClassData], tokenizer_json: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(TINY, train_steps=60, fragments=64, learning_rate=5e-3)
    train(classes, tokenizer_json, recipe, CPU, workers=0)
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("train")]
    losses = [float(line.split("virus ")[1].split()[0]) for line in lines]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.02


def test_predict_takes_the_bundle(
    classes: list[ClassData], tokenizer_json: bytes, tmp_path: Path
) -> None:
    classifier = trained(classes, tokenizer_json, TINY)
    bundle = export_bundle(
        classifier,
        tokenizer_json,
        tmp_path / "bundle",
        name="tiny",
        version="1",
        chunk_lengths=(300,),
        provenance={},
        metrics={},
    )
    recorded = record_metrics(bundle, {"dev": {"auroc": 0.5}})
    assert recorded.manifest.metrics == {"dev": {"auroc": 0.5}}
    summary = virnucpro.predict(EXAMPLES[0], tmp_path / "out", bundle=bundle.path)
    assert summary.bundle == "tiny 1"
    assert summary.open_frames > 100


@given(st.lists(st.integers(2, 40), min_size=1, max_size=20), st.integers(1, 9))
@settings(deadline=None)
def test_cropping_keeps_both_ends_and_a_multiple_between(lengths: list[int], multiple: int) -> None:
    tokens = tokens_of(lengths, 0, 1000)
    cropped = crop_to_multiple(tokens, multiple)
    for i, length in enumerate(lengths):
        before = tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()
        after = cropped.ids[cropped.offsets[i] : cropped.offsets[i + 1]].tolist()
        inner = length - 2
        kept = inner - inner % multiple if inner >= multiple else inner
        assert after == [*before[: kept + 1], before[-1]]


def test_masks_hide_the_share_asked_for_and_never_special_tokens() -> None:
    torch.manual_seed(4)
    ids_T = torch.randint(0, 24, (200_000,))
    masked_T, chosen_T = mask_tokens(ids_T, 4, 24, 32, torch.tensor(0.15))
    assert not chosen_T[ids_T < 4].any()
    assert chosen_T[ids_T >= 4].float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(masked_T[~chosen_T], ids_T[~chosen_T])
    hidden = (masked_T[chosen_T] == 32).float().mean().item()
    same = (masked_T[chosen_T] == ids_T[chosen_T]).float().mean().item()
    assert hidden == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / 20, abs=0.02)


def test_training_goes_on_from_where_its_time_was_over(
    classes: list[ClassData],
    tokenizer_json: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = replace(TINY, train_steps=6, average=0.9)
    found, attempts = None, 0
    while found is None:
        attempts += 1
        found = train(
            classes, tokenizer_json, recipe, CPU, workers=0,
            checkpoint=tmp_path / "checkpoint", seconds=0.2,
        )  # fmt: skip
        assert attempts < 100
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["pretrain", f"{i}/2"] for i in (1, 2)] + [
        ["train", f"{i}/6"] for i in range(1, 7)
    ]
    with pytest.raises(RunError, match="is of another recipe"):
        train(
            classes, tokenizer_json, TINY, CPU, workers=0, checkpoint=tmp_path / "checkpoint"
        )  # fmt: skip


def test_weights_are_averaged_and_a_teacher_is_learned_from(
    classes: list[ClassData], tokenizer_json: bytes
) -> None:
    plain = trained(classes, tokenizer_json, TINY)
    average = trained(classes, tokenizer_json, replace(TINY, average=0.9))
    taught = trained(classes, tokenizer_json, TINY, Teacher(plain, 1.0))
    name = "head.output_layer.weight"
    states = [model.state_dict()[name] for model in (plain, average, taught)]
    assert all(x.isfinite().all() for x in states)
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_bundle_trained_on_stretches_says_so(
    classes: list[ClassData], tokenizer_json: bytes, tmp_path: Path
) -> None:
    recipe = replace(TINY, frames=FrameRule("segments", 20))
    classifier = trained(classes, tokenizer_json, recipe)
    bundle = export_bundle(
        classifier, tokenizer_json, tmp_path / "bundle", name="tiny", version="1",
        chunk_lengths=(300,), frames=recipe.frames, provenance={}, metrics={},
    )  # fmt: skip
    assert (bundle.manifest.frames, bundle.manifest.least_residues) == ("segments", 20)
    summary = virnucpro.predict(EXAMPLES[1], tmp_path / "out", bundle=bundle.path, device="cpu")
    assert summary.calls["unscored"] == 0
