"""Sequences of different lengths laid end to end, so that no token is padding."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

#: Which sequences, and their rows end to end.
Embedded = tuple[NDArray[np.int64], Tensor]
#: A pack on a CPU is filled up to a multiple of so many tokens. Libraries have other kernels for
#: products of few rows (at most 15 were seen, of MKL and of oneDNN's AMX), which round otherwise.
LEAST_ROWS = 64


class Tokens(NamedTuple):
    """Token ids of many sequences on the host.

    Attributes:
        ids: all ids end to end, int64.
        offsets: where each sequence starts, one more entry than sequences, int64.
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence."""
        return np.diff(self.offsets)

    def choose(self, which: NDArray[np.int64]) -> "Tokens":
        """Return the sequences `which`, in that order."""
        lengths = self.lengths[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        moved = np.repeat(self.offsets[which] - offsets[:-1], lengths)
        return Tokens(self.ids[np.arange(offsets[-1]) + moved], offsets)


class Run(NamedTuple):
    """Neighbours of equal length within a pack.

    Attributes:
        sequences: how many.
        length: tokens of each.
    """

    sequences: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of all of them."""
        return self.sequences * self.length


class Pack(NamedTuple):
    """The input of one forward pass.

    Attributes:
        tokens_T: ids, int64; behind the last sequence zeros may fill the pack up to a fixed size.
        positions_T: position of each token within its sequence, int64.
        cu_seqlens: cumulative lengths, S + 1 entries, int32.
        longest: tokens of the longest sequence.
        runs: neighbours of equal length, known to the host.
    """

    tokens_T: Tensor
    positions_T: Tensor
    cu_seqlens: Tensor
    longest: int
    runs: tuple[Run, ...]

    @property
    def sequences(self) -> int:
        """How many sequences the pack holds."""
        return len(self.cu_seqlens) - 1

    @property
    def used(self) -> int:
        """Tokens that belong to a sequence."""
        return sum(run.tokens for run in self.runs)

    def to(self, device: torch.device) -> "Pack":
        """Return the pack with its tensors on `device`."""
        if device.type == "cpu":
            return self
        tokens_T, positions_T, cu_seqlens = (
            t.pin_memory().to(device, non_blocking=True)
            for t in (self.tokens_T, self.positions_T, self.cu_seqlens)
        )
        return Pack(tokens_T, positions_T, cu_seqlens, self.longest, self.runs)


def pack_sequences(tokens: Tokens, which: NDArray[np.int64], multiple_of: int = 1) -> Pack:
    """Pack the sequences `which` of `tokens`, in that order.

    Args:
        tokens: many sequences.
        which: indices of those to pack.
        multiple_of: the pack is filled up to a multiple of so many tokens.
    """
    chosen = tokens.choose(which)
    lengths, used = chosen.lengths, len(chosen.ids)
    size = -(-used // multiple_of) * multiple_of
    ids, positions = np.zeros((2, size), dtype=np.int64)
    ids[:used] = chosen.ids
    positions[:used] = np.arange(used) - np.repeat(chosen.offsets[:-1], lengths)
    first = np.flatnonzero(np.concatenate([[True], lengths[1:] != lengths[:-1]]))
    counts = np.diff(np.concatenate([first, [len(lengths)]]))
    runs = zip(counts.tolist(), lengths[first].tolist(), strict=True)
    return Pack(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(chosen.offsets.astype(np.int32)),
        int(lengths.max()),
        tuple(Run(*run) for run in runs),
    )


def pack_by_length(
    tokens: Tokens, token_budget: int, multiple_of: int = 1
) -> Iterator[tuple[NDArray[np.int64], Pack]]:
    """Cut sequences into packs of at most `token_budget` tokens, shortest sequences first.

    A sequence longer than the budget gets a pack of its own; each pack is filled up to a multiple
    of `multiple_of` tokens, so that a GPU sees few different shapes.

    Yields:
        which sequences of `tokens` a pack holds, and the pack.
    """
    order = np.argsort(tokens.lengths, kind="stable")
    ends = np.cumsum(tokens.lengths[order])
    start = 0
    while start < len(order):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + token_budget, side="right")))
        which = order[start:stop]
        yield which, pack_sequences(tokens, which, multiple_of)
        start = stop


def mean_pool(hidden_TD: Tensor, pack: Pack, trim: int = 0) -> Tensor:
    """Return the mean hidden state of each sequence in fp32, `trim` tokens left out at both ends.

    Returns:
        means_SD, in the order of the pack.
    """
    parts = hidden_TD[: pack.used].split([run.tokens for run in pack.runs])
    means = [
        part.unflatten(0, (run.sequences, run.length))[:, trim : run.length - trim].mean(
            dim=1, dtype=torch.float32
        )
        for part, run in zip(parts, pack.runs, strict=True)
    ]
    return torch.cat(means)


class Encoder(Protocol):
    """A network that turns the sequences of a pack into one vector each."""

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32."""
        ...


def encode_means(
    encoder: Encoder,
    width: int,
    tokens: Tokens,
    token_budget: int,
    device: torch.device,
    on_out_of_memory: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return means_SD of every sequence on `device`, fp32; see `encode`."""
    found = encode(encoder.embed, tokens, token_budget, device, on_out_of_memory)
    return torch.empty(0, width, device=device) if found is None else found


def encode(
    embed: Callable[[Pack], Tensor],
    tokens: Tokens,
    token_budget: int,
    device: torch.device,
    on_out_of_memory: Callable[[], None] = lambda: None,
    rows_S: NDArray[np.int64] | None = None,
    too_long: list[int] | None = None,
) -> Tensor | None:
    """Embed every sequence of `tokens`, without gradients and, on a GPU, without waiting for it.

    On a CPU as many packs go side by side as PyTorch may use threads, one thread each: cores then
    never wait for each other within an operation, and results do not depend on their number.
    On a GPU packs are filled up to sixteenths of the budget, on a CPU to multiples of 64 tokens, so
    that a library that compiles products for their shape sees few, and on a CPU none of few rows.

    Args:
        embed: turns a pack on `device` into the rows of its sequences, end to end.
        tokens: the sequences.
        token_budget: most tokens of a pack, but for a longer sequence.
        device: where to compute.
        on_out_of_memory: called when a pack did not fit into memory and is done in two.
        rows_S: how many rows `embed` gives for each sequence; by default one.
        too_long: an empty list that gets the sequences that do not fit even alone; they have no
            rows, and the others are not computed again.

    Returns:
        rows on `device` in the order of `tokens`; None where there are none.

    Raises:
        torch.OutOfMemoryError: when a single sequence does not fit and `too_long` is not given.
    """

    def embed_pack(which: NDArray[np.int64], pack: Pack) -> list[Embedded]:
        try:
            with torch.inference_mode():
                return [(which, embed(pack.to(device)))]
        except torch.OutOfMemoryError:
            if len(which) == 1 and too_long is None:
                raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if len(which) == 1 and too_long is not None:
            too_long.append(int(which[0]))
            return []
        on_out_of_memory()
        halves = np.array_split(which, 2)
        parts = (embed_pack(half, pack_sequences(tokens, half, rows)) for half in halves)
        return [one for part in parts for one in part]

    rows = 16 if device.type == "cuda" else LEAST_ROWS
    step = max(rows, token_budget // 256 * 16) if device.type == "cuda" else rows
    packs = pack_by_length(tokens, token_budget, step)
    if device.type == "cpu":
        found = _side_by_side(embed_pack, packs)
    else:
        found = [one for which, pack in packs for one in embed_pack(which, pack)]
    if not found:
        return None
    order = np.concatenate([which for which, _ in found])
    count_S = np.ones(len(tokens.lengths), np.int64) if rows_S is None else rows_S.copy()
    count_S[too_long or []] = 0
    places = _places(order, count_S)
    return torch.cat([values for _, values in found])[to_device(places, device)]


def _places(order: NDArray[np.int64], rows_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the rows of sequences are that lie end to end in another order.

    Sequences without rows may be missing in the order.
    """
    starts = np.zeros_like(rows_S)
    starts[order] = np.cumsum(rows_S[order]) - rows_S[order]
    first = np.cumsum(rows_S) - rows_S
    return np.repeat(starts - first, rows_S) + np.arange(rows_S.sum())


def filled_up(rows_SD: Tensor) -> Tensor:
    """Return rows on a CPU with zeros behind them, up to a multiple of `LEAST_ROWS`."""
    return pad(rows_SD, (0, 0, 0, -len(rows_SD) % LEAST_ROWS))


def to_host(tensor: Tensor) -> Tensor:
    """Copy a tensor to the host; a GPU does it when it comes to it."""
    if not tensor.is_cuda:
        return tensor.clone()
    on_host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return on_host.copy_(tensor, non_blocking=True)


def to_device(array: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy an array to a device; a GPU does it beside what it is computing."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _side_by_side(
    embed: Callable[[NDArray[np.int64], Pack], list[Embedded]],
    packs: Iterable[tuple[NDArray[np.int64], Pack]],
) -> list[Embedded]:
    """Embed packs in as many threads as PyTorch may use, few of them ahead.

    An interpreter that ends waits for what its threads were given.
    """
    found: list[Embedded] = []
    waiting: deque[Future[list[Embedded]]] = deque()

    def take() -> None:
        found.extend(waiting.popleft().result())

    with one_thread_an_operation() as threads, ThreadPoolExecutor(threads) as pool:
        try:
            for which, pack in packs:
                waiting.append(pool.submit(embed, which, pack))
                if len(waiting) > 2 * threads:
                    take()
            while waiting:
                take()
            return found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def one_thread_an_operation() -> Iterator[int]:
    """Let PyTorch compute each operation in one thread; gives how many threads it used before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
