"""The network that reads six frames, on a real GPU: `pytest -m gpu`."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from made_classes import write_classes
from processes import EXAMPLES
from virnucpro.bundles import load_bundle
from virnucpro.bundles.settle import choose_device
from virnucpro.classify.classifier import FrameClassifier
from virnucpro.encoders.precision import computed_precisions
from virnucpro.prediction.worker import Worker
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.blocks import Block, Piece
from virnucpro.training.classes import ClassData, load_classes
from virnucpro.training.hyperparameters import Recipe, sized
from virnucpro.training.loop import FRAGMENT_LENGTHS, Loop
from virnucpro.training.recipe import train
from virnucpro.training.trainee import Trainee, log_odds
from virnucpro.training.windows import Library

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
#: Least cosine of an embedding with that in fp32, and largest difference of a probability.
ALIKE = {"fp32": (0.99999, 1e-4), "fp16": (0.999, 0.02), "bf16": (0.99, 0.15)}
SMALL = Recipe(
    sized(1, 64, 1, 64), pretrain_steps=12, train_steps=60, bases=20_000, learning_rate=4e-3,
    average=0.9,
)  # fmt: skip


class Found(NamedTuple):
    """What a worker gave for the example reads."""

    means_SD: Tensor
    scores_S2: NDArray[np.float32]


def reads_block() -> Block:
    """Return the example reads as one block."""
    with SequenceFile(EXAMPLES[0]) as file:
        records = list(file)
    pieces = [
        Piece(i, r.id, len(r.sequence), -(-len(r.sequence) // 500), 0, -(-len(r.sequence) // 500),
              0, r.sequence)
        for i, r in enumerate(records)
    ]  # fmt: skip
    return Block(0, pieces)


def scored(device: str, precision: str) -> Found:
    """Score the example reads with the embedded bundle."""
    worker = Worker(load_bundle("compact"), choose_device(device, precision), 500)
    prepared = worker.prepare(reads_block())
    scores_S2 = worker.score(prepared).copy()
    assert worker.work.incidents() == []
    with torch.inference_mode():
        means_SD = worker._model.embed_proteins(prepared.protein, 4096).cpu()
    return Found(means_SD, scores_S2)


@pytest.fixture(scope="module")
def expected() -> Found:
    found = scored("cpu", "fp32")
    assert len(found.scores_S2) > 100
    return found


@pytest.mark.parametrize("precision", ALIKE)
def test_compact_predicts_as_on_the_cpu(expected: Found, precision: str) -> None:
    if precision not in computed_precisions(CUDA):
        pytest.skip(f"this GPU has no {precision}")
    found = scored("cuda", precision)
    alike, away = ALIKE[precision]
    assert torch.cosine_similarity(found.means_SD, expected.means_SD).min() > alike
    np.testing.assert_allclose(found.scores_S2, expected.scores_S2, atol=away)
    same = (found.scores_S2[:, 1] > 0.5) == (expected.scores_S2[:, 1] > 0.5)
    assert same.mean() >= (0.98 if precision == "bf16" else 0.99)


def test_what_stores_fewer_bits_leaves_it_in_fp16() -> None:
    exact = scored("cuda", "fp16").scores_S2
    for precision in {"fp8", "int8", "int4"} & set(computed_precisions(CUDA)):
        found = scored("cuda", precision).scores_S2
        np.testing.assert_allclose(found, exact, atol=2e-3)  # packs may have other shapes


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> list[ClassData]:
    return load_classes([write_classes(tmp_path_factory.mktemp("classes"))])


def share_right(classifier: FrameClassifier, classes: list[ClassData]) -> float:
    """Return how often a classifier, on the CPU, is right on fragments it may have seen."""
    torch.manual_seed(3)
    fragments = Library(classes, CPU).cut(300, 200)
    with torch.inference_mode():
        is_virus_B = log_odds(classifier, fragments, torch.float32) > 0
    return (is_virus_B == (fragments.is_virus_B > 0)).float().mean().item()


def losses_in(lines: list[str], phase: str, name: str) -> list[float]:
    """Return one of the losses of each line of a phase."""
    return [float(line.split(f"{name} ")[1].split()[0]) for line in lines if line.startswith(phase)]


def test_graphs_of_steps_of_several_lengths_learn(classes: list[ClassData]) -> None:
    torch.manual_seed(1)
    lines: list[str] = []
    library = Library(classes, CUDA)
    trainee = Trainee(SMALL.network, SMALL.losses, library.classes).to(CUDA)
    loop = Loop(trainee, SMALL, library, on_line=lines.append)
    loop.run()
    assert loop.is_over
    assert 2 < len(loop._step_functions) <= len(FRAGMENT_LENGTHS)
    virus = losses_in(lines, "train", "virus")
    hidden = losses_in(lines, "pretrain", "hidden bases")
    assert np.isfinite([*virus, *hidden]).all()
    assert len(virus) == 20
    assert np.mean(virus[-4:]) < np.mean(virus[:2]) - 0.1
    assert np.mean(hidden[-3:]) < np.mean(hidden[:3])
    assert all(x.isfinite().all() for x in loop.averaged().values())


def clock_of() -> Callable[[], float]:
    """Return a clock on which a second is over each time that it is read."""
    seconds = count()
    return lambda: float(next(seconds))


def test_training_goes_on_from_a_checkpoint(
    classes: list[ClassData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virnucpro.training.loop.time", SimpleNamespace(monotonic=clock_of()))
    path, found, attempts, lines = tmp_path / "checkpoint", None, 0, list[str]()
    while found is None:
        attempts += 1
        assert attempts < 20
        found = train(classes, SMALL, CUDA, checkpoint=path, seconds=25, on_line=lines.append)
    assert attempts > 2
    every = SMALL.train_steps // 20
    steps = [f"pretrain {i + 1}/12" for i in range(12)]
    steps += [f"train {i}/60" for i in range(every, 61, every)]
    assert [" ".join(line.split()[:2]) for line in lines] == steps
    assert np.isfinite(losses_in(lines, "train", "virus")).all()
    assert found.device == CPU
    assert share_right(found, classes) > 0.95
