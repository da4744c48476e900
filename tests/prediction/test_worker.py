"""A worker gets its scores in spite of too little memory and of numbers that are not finite."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from conftest import block_of
from virnucpro.bundles import Bundle
from virnucpro.bundles.settle import choose_device
from virnucpro.classify import FrameClassifier, load_classifier
from virnucpro.encoders import Pack
from virnucpro.errors import SettingsError
from virnucpro.prediction.worker import Worker
from virnucpro.runs.devices import Budgets

if TYPE_CHECKING:
    from virnucpro.classify.frame_worker import Prepared

BLOCK = block_of(60, 700, 300)
Encode = Callable[[Pack], Tensor]


def worker_of(bundle: Bundle, precision: str = "fp32", budget: int = 1024) -> Worker:
    return Worker(bundle, choose_device("cpu", precision), 300, Budgets(budget, budget))


@pytest.fixture
def expected(tiny_bundle: Bundle) -> NDArray[np.float32]:
    """Return the scores of a worker that nothing happens to."""
    worker = worker_of(tiny_bundle)
    scores_S2 = worker.score(worker.prepare(BLOCK))
    assert len(scores_S2) > 20
    assert worker.work.incidents() == []
    return scores_S2


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Packs go one after the other, so that they can be counted."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def out_of_memory_above(sequences: int, embed: Encode, sizes: list[int]) -> Encode:
    """Refuse packs of more sequences; note the size of every pack."""

    def limited(pack: Pack) -> Tensor:
        sizes.append(pack.sequences)
        if pack.sequences > sequences:
            raise torch.OutOfMemoryError("no room\nfor this pack")
        return embed(pack)

    return limited


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("sequences", [1, 5])
@pytest.mark.parametrize("encoder", ["protein_encoder", "dna_encoder"])
def test_packs_that_do_not_fit_are_done_in_two(
    tiny_bundle: Bundle,
    expected: NDArray[np.float32],
    encoder: str,
    sequences: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, sizes = worker_of(tiny_bundle), list[int]()
    network = cast("Any", worker._model.get_submodule(encoder))
    limited = out_of_memory_above(sequences, network.embed, sizes)
    monkeypatch.setattr(network, "embed", limited)
    found = worker.score(worker.prepare(BLOCK))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    refused = [size for size in sizes if size > sequences]
    assert worker.work.packs_cut == len(refused) > 0
    done = [size for size in sizes if size <= sequences]
    assert sum(done) == len(expected)
    assert worker.work.frames_redone == 0
    assert "out of memory" in worker.work.incidents()[0]


@pytest.mark.parametrize("encoder", ["protein_encoder", "dna_encoder"])
def test_one_sequence_that_does_not_fit_is_an_error(
    tiny_bundle: Bundle, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(tiny_bundle)
    network = cast("Any", worker._model.get_submodule(encoder))
    monkeypatch.setattr(network, "embed", out_of_memory_above(0, network.embed, []))
    with pytest.raises(torch.OutOfMemoryError):
        worker.score(worker.prepare(BLOCK))


def break_scores(worker: Worker, faulty: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker's network, but not the one it loads in fp32, lose some scores."""
    model = worker._model
    healthy = model.forward

    def forward(protein_SD: Tensor, dna_SD: Tensor) -> Tensor:
        scores_S2 = healthy(protein_SD, dna_SD)
        scores_S2[faulty] = torch.nan
        return scores_S2

    monkeypatch.setattr(model, "forward", forward)


@pytest.mark.parametrize("faulty", [[0], [3, 4, 17]])
def test_scores_that_are_not_finite_are_computed_anew_in_fp32(
    tiny_bundle: Bundle,
    expected: NDArray[np.float32],
    faulty: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    healthy, worker = worker_of(tiny_bundle, "bf16"), worker_of(tiny_bundle, "bf16")
    prepared = worker.prepare(BLOCK)
    others = healthy.score(prepared)
    break_scores(worker, faulty, monkeypatch)
    found = worker.score(prepared)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[faulty], expected[faulty], atol=1e-6)
    kept = np.delete(np.arange(len(found)), faulty)
    np.testing.assert_array_equal(found[kept], others[kept])
    work = worker.work
    assert (work.frames_redone, work.packs_cut) == (len(faulty), 0)
    assert work.seconds["again in fp32"] > 0
    assert work.incidents() == [
        f"{len(faulty)} results were not finite and were recomputed in fp32"
    ]


def test_one_infinite_score_of_a_frame_is_enough(
    tiny_bundle: Bundle, expected: NDArray[np.float32]
) -> None:
    worker = worker_of(tiny_bundle)
    prepared = worker.prepare(BLOCK)
    pending = worker.submit(prepared)
    pending.values_SX.numpy()[5, 1] = np.inf
    np.testing.assert_allclose(worker.collect(pending), expected, atol=1e-6)
    assert worker.work.frames_redone == 1


def test_the_network_in_fp32_is_loaded_once(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(tiny_bundle)
    break_scores(worker, [1], monkeypatch)
    loaded = list[Any]()

    def counted(*arguments: Any) -> FrameClassifier:  # noqa: ANN401
        loaded.append(arguments)
        if len(loaded) == 1:  # no room on the device
            raise torch.OutOfMemoryError
        return load_classifier(*arguments)

    monkeypatch.setattr("virnucpro.classify.frame_worker.load_classifier", counted)
    for _ in range(2):
        worker.score(worker.prepare(BLOCK))
    assert [arguments[1:] for arguments in loaded[1:]] == [(torch.device("cpu"), torch.float32)]
    assert worker.work.frames_redone == 2


def test_scores_that_are_not_finite_in_fp32_either_are_an_error(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(tiny_bundle)
    prepared: Prepared = worker.prepare(BLOCK)
    monkeypatch.setattr(
        FrameClassifier, "forward", lambda _, rows, __: torch.full((len(rows), 2), torch.nan)
    )
    with pytest.raises(SettingsError, match="record 1 are not finite in fp32") as error:
        worker.score(prepared)
    assert "\n" not in str(error.value)


def test_submitted_blocks_are_collected_as_if_scored_one_by_one(tiny_bundle: Bundle) -> None:
    worker = worker_of(tiny_bundle)
    prepared = [worker.prepare(block_of(20, 700, 300, seed)) for seed in (1, 2)]
    one_by_one = [worker.score(each) for each in prepared]
    pending = [worker.submit(each) for each in prepared]
    for waiting, scores_S2 in zip(pending, one_by_one, strict=True):
        np.testing.assert_array_equal(worker.collect(waiting), scores_S2)


def test_a_block_without_open_frames_has_no_scores(tiny_bundle: Bundle) -> None:
    worker = worker_of(tiny_bundle)
    prepared = worker.prepare(block_of(1, 31, 300))
    stops = prepared._replace(frames=prepared.frames._replace(chunk=prepared.frames.chunk[:0]))
    assert worker.score(stops).shape == (0, 2)
    assert worker.work.frames == 0
