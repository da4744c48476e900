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

#: Indices of sequences, and their rows end to end.
Embedded = tuple[NDArray[np.int64], Tensor]
#: On a CPU, packs are padded to a multiple of this many tokens. For products of few rows (up to 15
#: in MKL and in oneDNN with AMX), libraries use other kernels, which round differently.
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
        """Return the sequences with these indices, in that order."""
        lengths = self.lengths[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        moved = np.repeat(self.offsets[which] - offsets[:-1], lengths)
        return Tokens(self.ids[np.arange(offsets[-1]) + moved], offsets)


class EqualLengthRun(NamedTuple):
    """Neighbouring sequences of a pack that have the same length.

    Attributes:
        sequences: number of sequences.
        length: tokens of each.
    """

    sequences: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return self.sequences * self.length


class Pack(NamedTuple):
    """The input of one forward pass.

    Attributes:
        tokens_T: ids, int64; zeros behind the last sequence may pad the pack to a fixed size.
        positions_T: position of each token within its sequence, int64.
        cu_seqlens: cumulative lengths, S + 1 entries, int32.
        longest: tokens of the longest sequence.
        runs: runs of sequences of equal length, which the host knows.
    """

    tokens_T: Tensor
    positions_T: Tensor
    cu_seqlens: Tensor
    longest: int
    runs: tuple[EqualLengthRun, ...]

    @property
    def sequences(self) -> int:
        """Number of sequences in the pack."""
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
        which: indices of the sequences to pack.
        multiple_of: the pack is padded to a multiple of this many tokens.
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
        tuple(EqualLengthRun(*run) for run in runs),
    )


def pack_by_length(
    tokens: Tokens, token_budget: int, multiple_of: int = 1
) -> Iterator[tuple[NDArray[np.int64], Pack]]:
    """Cut sequences into packs of at most `token_budget` tokens, shortest sequences first.

    A sequence longer than the budget gets a pack of its own. Each pack is padded to a multiple of
    `multiple_of` tokens, so that a GPU sees few different shapes.

    Yields:
        the indices of a pack's sequences, and the pack.
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
    """Return the mean hidden state of each sequence in fp32, without `trim` tokens at both ends.

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
    """A network that turns each sequence of a pack into one vector."""

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
    """Embed every sequence of `tokens` without gradients; on a GPU, return before it has finished.

    On a CPU, each of PyTorch's threads computes a pack of its own: cores never wait for each other
    within an operation, and the results do not depend on the number of threads. Packs are padded to
    sixteenths of the budget on a GPU, and to multiples of 64 tokens on a CPU. Libraries that
    compile products for their shape then see few shapes, and on a CPU none of few rows.

    Args:
        embed: turns a pack on `device` into the rows of its sequences, end to end.
        tokens: the sequences.
        token_budget: largest number of tokens in a pack; a longer sequence gets its own pack.
        device: where to compute.
        on_out_of_memory: called if a pack does not fit into memory and is cut in two.
        rows_S: number of rows that `embed` returns for each sequence; by default one.
        too_long: an empty list that receives the sequences that do not fit even alone; they have no
            rows, and the others are not computed again.

    Returns:
        rows on `device` in the order of `tokens`, or None if there are none.

    Raises:
        torch.OutOfMemoryError: a single sequence does not fit and there is no `too_long`.
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
    """Return the places of the sequences' rows, which lie end to end in another order.

    Args:
        order: the sequences in that order; those without rows may be missing.
        rows_S: number of rows of each sequence.
    """
    starts = np.zeros_like(rows_S)
    starts[order] = np.cumsum(rows_S[order]) - rows_S[order]
    first = np.cumsum(rows_S) - rows_S
    return np.repeat(starts - first, rows_S) + np.arange(rows_S.sum())


def filled_up(rows_SD: Tensor) -> Tensor:
    """Pad rows on a CPU with zeros to a multiple of `LEAST_ROWS`."""
    return pad(rows_SD, (0, 0, 0, -len(rows_SD) % LEAST_ROWS))


def to_host(tensor: Tensor) -> Tensor:
    """Copy a tensor to the host; a GPU copies it later, in its stream."""
    if not tensor.is_cuda:
        return tensor.clone()
    on_host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return on_host.copy_(tensor, non_blocking=True)


def to_device(array: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy an array to a device; a GPU copies it while it computes."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _side_by_side(
    embed: Callable[[NDArray[np.int64], Pack], list[Embedded]],
    packs: Iterable[tuple[NDArray[np.int64], Pack]],
) -> list[Embedded]:
    """Embed packs in as many threads as PyTorch may use.

    Only a few packs wait in the pool, since an interpreter that ends waits for all of them.
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
    """Let PyTorch compute each operation in one thread; yield how many threads it used before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
