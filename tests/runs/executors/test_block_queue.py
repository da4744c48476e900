"""Blocks handed out to workers that die: each is finished once or set aside, no innocent one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.runs.executors.block_queue import BlockQueue
from virnucpro.sequences.blocks import Block

DEPTH = 3
Draw = Callable[[int], int]


def blocks_with_pauses(pauses: list[int]) -> Iterator[Block | None]:
    """Yield a block after each number of times that there is none for now."""
    for index, pause in enumerate(pauses):
        yield from [None] * pause
        yield Block(index)


@dataclass
class Crowd:
    """Workers that take, finish and die in any order, and all that happened to each block.

    Attributes:
        queue: of the blocks.
        killers: blocks that no worker survives.
        hands: blocks in hand of each worker, oldest first; fewer than there were when some left.
        finished: blocks in the order they were finished.
        failed: blocks in the order they were set aside.
        died_with: for each death, what was in hand.
    """

    queue: BlockQueue
    killers: set[int]
    hands: list[list[Block]]
    finished: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    died_with: list[list[int]] = field(default_factory=list)

    def fill(self, worker: int) -> None:
        """Take until there is enough in hand; keep a suspect alone."""
        hand = self.hands[worker]
        while len(hand) < DEPTH and not any(map(self.queue.is_suspect, hand)):
            block = self.queue.take(has_others=bool(hand))
            if block is None:
                break
            hand.append(block)
        assert len(hand) == 1 or not any(map(self.queue.is_suspect, hand))

    def compute(self, worker: int) -> None:
        """Finish the oldest block, or die of it."""
        hand = self.hands[worker]
        if hand and hand[0].index in self.killers:
            self.die(worker)
        elif hand:
            self.finished.append(hand.pop(0).index)
            self.queue.finish()

    def die(self, worker: int) -> None:
        """Lose what is in hand."""
        hand = self.hands[worker]
        self.died_with.append([block.index for block in hand])
        self.failed += [block.index for block in self.queue.requeue(list(hand))]
        hand.clear()

    def leave(self, worker: int) -> None:
        """Die and not come back; somebody must stay."""
        if len(self.hands) > 1:
            self.die(worker)
            del self.hands[worker]

    def live(self, draw: Draw, steps: int, actions: str) -> None:
        """Let anything happen."""
        acts = {"fill": self.fill, "compute": self.compute, "die": self.die, "leave": self.leave}
        names = actions.split()
        for _ in range(steps):
            acts[names[draw(len(names))]](draw(len(self.hands)))

    def work_off(self) -> None:
        """Do the rest without accidents."""
        for _ in range(10_000):
            if self.queue.is_over:
                return
            for worker in range(len(self.hands)):
                self.fill(worker)
                self.compute(worker)
        pytest.fail("never over")


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Crowd, int]:
    """Return workers with nothing in hand, and how many blocks there are."""
    pauses = draw(st.lists(st.sampled_from([0, 0, 0, 1, 4]), max_size=30))
    killers = draw(st.sets(st.integers(0, 29), max_size=6))
    workers = draw(st.integers(1, 5))
    queue = BlockQueue(blocks_with_pauses(pauses))
    return Crowd(queue, killers, [[] for _ in range(workers)]), len(pauses)


def drawn(data: st.DataObject) -> Draw:
    return lambda count: data.draw(st.integers(0, count - 1))


def assert_each_block_ended_once(crowd: Crowd, blocks: int) -> None:
    assert sorted(crowd.finished + crowd.failed) == list(range(blocks))
    assert not any(crowd.hands)
    assert crowd.queue.is_over


@settings(deadline=None, max_examples=300)
@given(crowd_and_blocks=crowds(), data=st.data())
def test_only_blocks_that_killed_two_workers_are_set_aside(
    crowd_and_blocks: tuple[Crowd, int], data: st.DataObject
) -> None:
    crowd, blocks = crowd_and_blocks
    crowd.live(drawn(data), data.draw(st.integers(0, 60)), "fill fill compute")
    crowd.work_off()
    assert_each_block_ended_once(crowd, blocks)
    assert set(crowd.failed) == crowd.killers & set(range(blocks))
    for index in crowd.failed:
        assert sum(index in hand for hand in crowd.died_with) == 2


@settings(deadline=None, max_examples=300)
@given(crowd_and_blocks=crowds(), data=st.data())
def test_workers_may_die_of_anything_at_any_moment(
    crowd_and_blocks: tuple[Crowd, int], data: st.DataObject
) -> None:
    crowd, blocks = crowd_and_blocks
    crowd.live(drawn(data), data.draw(st.integers(0, 80)), "fill fill compute compute die leave")
    crowd.work_off()
    assert_each_block_ended_once(crowd, blocks)
    assert set(crowd.failed) >= crowd.killers & set(range(blocks))
    for index in crowd.failed:
        deaths = [hand for hand in crowd.died_with if index in hand]
        assert len(deaths) == 2
        assert deaths[1] == [index], "set aside although another may have been the cause"


@settings(deadline=None, max_examples=100)
@given(crowd_and_blocks=crowds(), data=st.data())
def test_nothing_is_handed_out_after_a_stop(
    crowd_and_blocks: tuple[Crowd, int], data: st.DataObject
) -> None:
    crowd, _ = crowd_and_blocks
    crowd.live(drawn(data), data.draw(st.integers(0, 40)), "fill fill compute die")
    crowd.queue.stop()
    assert crowd.queue.is_over
    before = [list(hand) for hand in crowd.hands]
    for worker, hand in enumerate(before):
        crowd.fill(worker)
        assert crowd.hands[worker] == hand
        crowd.die(worker)
        crowd.fill(worker)
        assert crowd.hands[worker] == []
    assert crowd.queue.is_over


def test_there_may_be_no_blocks_at_all() -> None:
    queue = BlockQueue(iter([]))
    assert queue.take(has_others=False) is None
    assert queue.is_over


def test_none_for_now_is_not_the_end() -> None:
    queue = BlockQueue(blocks_with_pauses([2]))
    assert queue.take(has_others=False) is None
    assert queue.take(has_others=True) is None
    assert not queue.is_over
    assert queue.take(has_others=False) == Block(0)


def test_a_block_in_hand_may_come_back() -> None:
    queue = BlockQueue(blocks_with_pauses([0]))
    block = queue.take(has_others=False)
    assert block is not None
    assert queue.take(has_others=False) is None
    assert not queue.is_over
    assert queue.requeue([block]) == []
    assert not queue.is_over
    assert queue.take(has_others=True) is None
    assert queue.take(has_others=False) == block
    queue.finish()
    assert queue.is_over


def test_a_reader_that_fails_says_so_to_the_worker_that_asked() -> None:
    def failing() -> Iterator[Block | None]:
        yield Block(0)
        raise ValueError("damaged input")

    queue = BlockQueue(failing())
    assert queue.take(has_others=False) == Block(0)
    with pytest.raises(ValueError, match="damaged input"):
        queue.take(has_others=True)
