"""Streams of `embed_sequences`: stopped early, with slow workers, with blocks that kill workers."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections import deque

import numpy as np
import psutil
import pytest

import virnucpro
from processes import gone_in_time
from virnucpro.embedding import api as embedding
from virnucpro.embedding.outputs import part_of
from virnucpro.embedding.shard import EmbeddingShard, make_embedding_shard
from virnucpro.encoders.pooling import Pooling
from virnucpro.runs.devices import Budgets
from virnucpro.runs.executors.block_queue import BlockQueue
from virnucpro.runs.executors.connection import Hello, Ready
from virnucpro.runs.executors.slots import Endpoint
from virnucpro.runs.executors.worker_pool import WorkerPool
from virnucpro.runs.task import Result
from virnucpro.runs.work import Work
from virnucpro.sequences.blocks import Block, cut_sequences

_SLOW = 150


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
@pytest.mark.parametrize("times", [1, _SLOW])
def test_a_hundred_of_an_endless_stream_leave_nothing_running(
    protein: str, device: str, times: int
) -> None:
    def left() -> tuple[set[threading.Thread], set[psutil.Process]]:
        children = set(psutil.Process().children(recursive=True))
        return set(threading.enumerate()) - threads, children - processes

    threads, processes = set[threading.Thread](), set[psutil.Process]()
    threads, processes = left()
    records = ((f"s{i}", "MKVLAAGGTW" * times) for i in itertools.count())
    stream = virnucpro.embed_sequences(records, model=protein, device=device)
    found = list(itertools.islice(stream, 100))
    started = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 10
    assert [id_ for id_, _ in found] == [f"s{i}" for i in range(100)]
    assert gone_in_time(lambda: left() == (set(), set())), left()


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_an_interpreter_ends_that_left_a_stream_open(protein: str, device: str) -> None:
    code = (
        "import itertools, sys, virnucpro\n"
        f"endless = ((f's{{i}}', 'MKVLAAGGTW' * {_SLOW}) for i in itertools.count())\n"
        "stream = virnucpro.embed_sequences(endless, model=sys.argv[1], device=sys.argv[2])\n"
        "print(len(list(itertools.islice(stream, 100))))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, protein, device],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        for _ in range(3 if device == "cpu" else 1)
    ]  # fmt: skip
    for process in processes:
        said, errors = process.communicate(timeout=60)
        assert (process.returncode, said, errors) == (0, "100\n", "")
    assert gone_in_time(lambda: not of_command(protein))


def of_command(model: str) -> list[psutil.Process]:
    """Return processes of others that name a model."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if model in (process.info["cmdline"] or []) and process.pid != os.getpid()
    ]


def test_sequences_are_read_no_further_ahead_than_is_useful(
    protein: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virnucpro.embedding.job._BLOCK_LETTERS", 100)
    read = itertools.count()
    records = ((f"s{next(read)}", "M" * 50) for _ in itertools.repeat(None))
    stream = virnucpro.embed_sequences(records, model=protein, device="cpu")
    assert next(read) == 0  # nothing is read before the first is asked for
    for _ in range(10):
        next(stream)
    time.sleep(0.5)
    assert next(read) < 60
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("pooling", ["mean", "tokens"])
def test_a_block_that_kills_its_workers_has_a_problem_for_each_record(
    protein: str, pooling: Pooling
) -> None:
    _, task = embedding._task(protein, None, pooling, "fp16", "auto")
    (block,) = cut_sequences([("a", "MK"), ("b c", "M1"), ("é", "M")], "protein", 100)
    shard = EmbeddingShard.decode(task.unscored(block, "two workers died on it"))
    problems = shard.problems.tobytes().decode().split("\n")
    assert problems[::2] == ["two workers died on it"] * 2
    assert "letters that are not residues ('1')" in problems[1]
    assert shard.ids.tobytes().decode() == "a\nb\né"
    assert shard.values_RD.shape == (0, 16)
    assert shard.values_RD.dtype == np.float16
    part = part_of(shard)
    assert (part.ids, len(part.counts), len(part.lengths)) == ([], 0, 0)


class FakeConnection:
    """A worker whose vectors hold the index of the block."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._in_hand: deque[Block] = deque()
        self.awaited = "nothing"

    def hello(self) -> Hello:
        return Hello("made", "fp32", Budgets(1, 1))

    def start(self, _budgets: Budgets) -> Ready:
        return Ready([], [])

    def send(self, block: Block) -> None:
        self._in_hand.append(block)

    def receive(self) -> Result:
        time.sleep(self._seconds)
        block = self._in_hand.popleft()
        count = len(block.pieces)
        values_RD = np.full((count, 1), block.index, np.float32)
        shard = make_embedding_shard(block, [""] * count, [1] * count, values_RD)
        return Result(block.index, shard.encode(), Work())

    def stop(self) -> None:
        """Do nothing."""


def test_a_slow_worker_that_is_waited_for_does_not_wait_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody reads ahead of what the slow one has, and then it wants another block."""
    finish, slow = BlockQueue.finish, FakeConnection(0.2)
    receive, serving = slow.receive, set[int]()

    def noted() -> Result:
        serving.add(threading.get_ident())
        return receive()

    def finished(handout: BlockQueue) -> None:
        finish(handout)
        if threading.get_ident() in serving:
            time.sleep(0.02)  # as when other threads have the interpreter

    monkeypatch.setattr(slow, "receive", noted)
    monkeypatch.setattr(BlockQueue, "finish", finished)
    pool = WorkerPool(
        [Endpoint("slow", lambda: slow), Endpoint("fast", lambda: FakeConnection(0.03))]
    )
    blocks = cut_sequences(((f"s{i}", "MKVLAAGGTW") for i in range(100)), "protein", 10)
    found: list[int] = []

    def take() -> None:
        found.extend(int(s.values_RD[0, 0]) for s in embedding._Stream(pool, blocks).shards())

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    taker.join(15)
    assert found == list(range(100))
