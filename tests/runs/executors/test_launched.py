"""Which rank a launched process is, and which device is its."""

import pytest

from virnucpro.errors import SettingsError
from virnucpro.prediction.job import Prediction
from virnucpro.runs.executors import launched
from virnucpro.runs.executors.launched import Rank

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_PROCID": "6", "SLURM_LOCALID": "2", "SLURM_NTASKS_PER_NODE": "3"}
TASK = Prediction("compact", "0" * 64, 300, "all", 2048, "auto")


@pytest.fixture(autouse=True)
def unlaunched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what launched the tests."""
    for name in TORCHRUN | SLURM:
        monkeypatch.delenv(name, raising=False)


def launch(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        (TORCHRUN, Rank(5, 1, 4)),
        (SLURM, Rank(6, 2, 3)),
        (SLURM | TORCHRUN, Rank(5, 1, 4)),
        ({"RANK": "0", "LOCAL_RANK": "0"}, Rank(0, 0, 1)),
        ({"SLURM_PROCID": "3", "SLURM_LOCALID": "3"}, Rank(3, 3, 1)),
        (SLURM | {"RANK": "", "LOCAL_RANK": "", "SLURM_NTASKS_PER_NODE": "4(x2)"}, Rank(6, 2, 1)),
    ],
    ids=["torchrun", "srun", "torchrun in srun", "no size", "srun, no size", "odd values"],
)
def test_the_launcher_says_which_rank_this_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank: Rank
) -> None:
    launch(monkeypatch, variables)
    assert Rank.here() == rank


@pytest.mark.parametrize(
    "variables", [{}, {"RANK": "1"}, {"LOCAL_RANK": "1"}, {"SLURM_PROCID": "x"}], ids=str
)
def test_a_process_that_was_not_launched_is_told_how(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    launch(monkeypatch, variables)
    with pytest.raises(
        SettingsError, match=r"RANK and LOCAL_RANK are not set; start the command with torchrun"
    ):
        Rank.here()


def test_ranks_of_a_machine_go_round_its_devices() -> None:
    names = ["cuda:0", "cuda:1", "cuda:2"]
    devices = [Rank(index + 8, index, 7).device(names) for index in range(7)]
    assert devices == [*names, *names, names[0]]
    assert [Rank(index, index, 2).device(["cpu"]) for index in range(2)] == ["cpu", "cpu"]


@pytest.mark.parametrize("runs", [1, 2, 5, 96])
@pytest.mark.parametrize("size", [1, 2, 8, 200])
def test_each_rank_begins_with_another_run(
    monkeypatch: pytest.MonkeyPatch, runs: int, size: int
) -> None:
    begins = []
    for rank in map(str, range(size)):
        launch(monkeypatch, {"RANK": rank, "LOCAL_RANK": "0", "WORLD_SIZE": str(size)})
        order = launched.order(runs)
        assert sorted(order) == list(range(runs))
        begins.append(order[0])
    assert begins[0] == 0
    assert begins == sorted(begins)
    assert len(set(begins)) == min(runs, size)


def test_ranks_of_a_launcher_that_says_no_size_have_an_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for rank in range(20):
        launch(monkeypatch, {"SLURM_PROCID": str(rank), "SLURM_LOCALID": "0"})
        assert sorted(launched.order(7)) == list(range(7))


def test_a_rank_has_one_worker_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch, TORCHRUN)
    assert [endpoint.name for endpoint in launched.endpoints(["cuda:0", "cuda:1"], TASK)] == [
        "cuda:1"
    ]
    assert [endpoint.name for endpoint in launched.endpoints(["cpu"], TASK)] == ["cpu"]
